//! Does what tests/conformance/README.md says.
const std = @import("std");
const ph = @import("build/pipehost.zig");

pub const description: ph.Description = .{
    .name = "conformance",
    .version = "0.1.0",
    .summary = "Does what the conformance cases ask for",
    .schema =
    \\{"properties": {"mode": {"enum": ["commands", "count", "count-by-key", "inputs"]},
    \\ "long_number": {"type": "integer"}, "refuse": {"type": "string"}}}
    ,
};

const Mode = enum { commands, count, @"count-by-key", inputs };
pub const Config = struct { mode: Mode = .commands, long_number: i64 = 0, refuse: ?[]const u8 = null };

var config: Config = .{};
var key: ph.Field = undefined;
var value: ph.Field = undefined;
var verb: ph.Field = undefined;
var arg: ph.Field = undefined;
var extra: ph.Field = undefined;
var other: ph.Port = 0;
var left: u32 = 0;
var count: u64 = 0;
var counts: std.StringHashMapUnmanaged(u64) = .empty;

pub fn open(given: Config, setup: *ph.Setup) !void {
    config = given;
    if (given.refuse) |why| return setup.refuse(why);
    switch (given.mode) {
        .commands => {
            setup.keepsNothing();
            setup.timestamp();
            key = setup.key();
            value = setup.value();
            verb = setup.attribute("do");
            arg = setup.attribute("arg");
            extra = setup.attribute("extra");
            other = setup.port("other");
        },
        .count => {},
        .@"count-by-key" => {
            key = setup.key();
            setup.keepsByKey(key);
        },
        .inputs => {
            setup.keepsNothing();
            left = setup.input("left");
            _ = setup.input("right");
        },
    }
}

var buffer: [64]u8 = undefined;
fn text(comptime format: []const u8, values: anytype) []const u8 {
    return std.fmt.bufPrint(&buffer, format, values) catch unreachable;
}

pub fn process(record: *const ph.Record, out: *ph.Out) !void {
    switch (config.mode) {
        .commands => return command(record, out),
        .count => {
            count += 1;
            out.keep().setAttribute("count", text("{d}", .{count}));
        },
        .@"count-by-key" => {
            const entry = entryOf(record.get(key) orelse "");
            entry.* += 1;
            out.keep().setAttribute("count", text("{d}", .{entry.*}));
        },
        .inputs => out.keep().setAttribute("from", if (record.isFrom(left)) "left" else "right"),
    }
}

fn entryOf(of: []const u8) *u64 {
    if (counts.getPtr(of)) |found| return found;
    const copy = ph.gpa.dupe(u8, of) catch unreachable;
    counts.put(ph.gpa, copy, 0) catch unreachable;
    return counts.getPtr(copy).?;
}

const Command = enum { keep, drop, twice, echo, upper, value, key, attribute, remove, time, later, @"tell-time", number, other, both, create, @"create-other", reject, retry, throw, @"keep-throw" };

fn command(record: *const ph.Record, out: *ph.Out) !void {
    const given = record.get(arg) orelse "";
    const what = std.meta.stringToEnum(Command, record.get(verb) orelse "keep") orelse return error.UnknownCommand;
    switch (what) {
        .keep => _ = out.keep(),
        .drop => {},
        .twice => {
            _ = out.keep();
            out.keep().setValue(given);
        },
        .echo => {
            const row = out.keep();
            if (record.get(value)) |bytes| row.setValue(bytes);
            if (record.get(extra)) |bytes| row.setAttribute("extra", bytes);
        },
        .upper => {
            const line = record.get(value) orelse "";
            for (line, out.keep().valueRoom(line.len)) |c, *to| to.* = std.ascii.toUpper(c);
        },
        .value => out.keep().setValue(given),
        .key => out.keep().setKey(given),
        .attribute => out.keep().setAttribute("made", given),
        .remove => out.keep().removeAttribute("extra"),
        .time => out.keep().setTime(try std.fmt.parseInt(i64, given, 10)),
        .later => {
            const row = out.keep();
            if (record.time()) |time| row.setTime(time + 1_000_000_000);
        },
        .@"tell-time" => out.keep().setValue(if (record.time()) |time| text("{d}", .{time}) else "none"),
        .number => out.keep().setValue(text("{d}", .{config.long_number})),
        .other => _ = out.send(other),
        .both => {
            _ = out.keep();
            out.send(other).setValue(given);
        },
        .create => out.create().setValue(given),
        .@"create-other" => {
            _ = out.keep();
            const row = out.createOn(other);
            row.setKey(given);
            row.setAttribute("made", given);
            row.setTime(1);
        },
        .reject, .throw => return out.reject(given),
        .retry => return out.retry(given),
        .@"keep-throw" => {
            out.keep().setValue("lost");
            return out.reject(given);
        },
    }
}

pub fn finish(out: *ph.Out) !void {
    if (config.mode == .count) out.create().setValue(text("{d} at the end", .{count}));
}

pub fn advance(watermark: i64, out: *ph.Out) !void {
    if (config.mode != .count) return;
    out.create().setValue(text("{d} until {d}", .{ count, watermark }));
    count = 0;
}

pub fn save(to: *ph.Save) !void {
    if (config.mode == .count) to.put(std.mem.asBytes(&count));
    var entries = counts.iterator();
    while (entries.next()) |entry| to.putKey(entry.key_ptr.*, std.mem.asBytes(entry.value_ptr));
}

pub fn restore(saved: *const ph.Saved) !void {
    if (saved.whole()) |bytes| {
        if (bytes.len == 8) count = std.mem.readInt(u64, bytes[0..8], .little);
    }
    var keys = saved.keys();
    while (keys.next()) |entry| entryOf(entry.key).* = std.mem.readInt(u64, entry.state[0..8], .little);
}

comptime {
    ph.stage(@This());
}
