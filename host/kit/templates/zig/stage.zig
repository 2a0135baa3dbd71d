//! Shouts the lines that have a word in them.
const std = @import("std");
const ph = @import("vendor/pipehost.zig");

pub const description: ph.Description = .{
    .name = "my-stage",
    .version = "0.1.0",
    .summary = "Shouts the lines that have a word in them",
    .schema =
    \\{"properties": {"word": {"type": "string", "minLength": 1, "description": "Lines with this word are changed."}},
    \\ "required": ["word"]}
    ,
};

/// What a pipeline may configure: as the schema says.
pub const Config = struct { word: []const u8 };

var value: ph.Field = undefined;
var word: []const u8 = "";

pub fn open(config: Config, setup: *ph.Setup) !void {
    value = setup.value();
    word = config.word;
    setup.keepsNothing();
}

pub fn process(record: *const ph.Record, out: *ph.Out) !void {
    const line = record.get(value) orelse return out.reject("it has no value");
    const row = out.keep();
    if (std.mem.indexOf(u8, line, word) != null) {
        for (line, row.valueRoom(line.len)) |c, *to| to.* = std.ascii.toUpper(c);
    }
}

comptime {
    ph.stage(@This());
}

test "lines with the word are shouted" {
    try ph.testing.open(@This(), "{\"word\": \"error\"}");
    ph.testing.process(@This(), &.{ .{ .value = "an error" }, .{ .value = "fine" } });
    try std.testing.expectEqual(2, ph.testing.len(0));
    try std.testing.expectEqualStrings("AN ERROR", ph.testing.changedValue(0, 0).?);
    try std.testing.expectEqual(null, ph.testing.changedValue(0, 1));
}
