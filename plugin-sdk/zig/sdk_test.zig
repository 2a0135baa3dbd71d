//! Unit tests of pipehost.zig, without WebAssembly.
const std = @import("std");
const ph = @import("pipehost.zig");

pub const description: ph.Description = .{ .name = "test", .version = "1", .summary = "", .schema = "{}" };
pub const Config = struct {};

var value: ph.Field = undefined;

pub fn open(_: Config, setup: *ph.Setup) !void {
    value = setup.value();
}
pub fn process(record: *const ph.Record, out: *ph.Out) !void {
    const text = record.get(value).?;
    if (std.mem.eql(u8, text, "keep")) {
        _ = out.keep();
    } else if (std.mem.eql(u8, text, "retry, but keep")) {
        busy(out) catch {
            _ = out.keep();
        };
    } else {
        return out.reject(text);
    }
}
fn busy(out: *ph.Out) !void {
    return out.retry("busy");
}

test "a reason is UTF-8, and whether a record may succeed later is said of that record alone" {
    try ph.testing.open(@This(), "{}");
    ph.testing.process(@This(), &.{ .{ .value = "retry, but keep" }, .{ .value = "bad \xff\u{e9}\xc3" }, .{ .value = "keep" } });
    try std.testing.expectEqual(2, ph.testing.len(0));
    try std.testing.expectEqualStrings("bad \u{FFFD}\u{e9}\u{FFFD}", ph.testing.reason(1).?);
    try std.testing.expect(!ph.testing.isRetryable(1));
}
