//! Write a pipehost stage in Zig: this one file is all of it.
//!
//!     const std = @import("std");
//!     const ph = @import("pipehost.zig");
//!
//!     pub const description: ph.Description = .{
//!         .name = "keep-level",
//!         .version = "0.1.0",
//!         .summary = "Keeps the records of one level",
//!         .schema =
//!         \\{"properties": {"level": {"type": "string"}}, "required": ["level"]}
//!         ,
//!     };
//!     pub const Config = struct { level: []const u8 };
//!
//!     var level: ph.Field = undefined;
//!     var wanted: []const u8 = "";
//!
//!     pub fn open(config: Config, setup: *ph.Setup) !void {
//!         level = setup.attribute("level");
//!         wanted = config.level;
//!         setup.keepsNothing();
//!     }
//!
//!     pub fn process(record: *const ph.Record, out: *ph.Out) !void {
//!         const found = record.get(level) orelse return out.reject("it has no level");
//!         if (std.mem.eql(u8, found, wanted)) _ = out.keep();
//!     }
//!
//!     comptime {
//!         ph.stage(@This());
//!     }
//!
//! A stage says in `open` what it reads. It sees one record at a time, and emits it with `keep`, as often as it likes; a
//! record that is not kept is dropped. What it does not change is inherited, and never leaves the host. An error
//! rejects the record. What it is given is valid until the call ends; what it gives is copied.
//!
//! It may also have `finish(out)`, `save(to: *ph.Save)` with `restore(saved: *const ph.Saved)`, and, if it has these,
//! `advance(watermark: i64, out: *ph.Out)`. `testing` runs the same stage in `zig test`.
//!
//! Build it with
//! `zig build-exe stage.zig -target wasm32-freestanding -mcpu=generic+simd128+bulk_memory -fno-entry -rdynamic -O ReleaseFast`.
//! The contract that this file implements is the package `pipehost:stage@0.2.0`, in its canonical ABI for wasm32.
const builtin = @import("builtin");
const std = @import("std");

const is_wasm = builtin.target.cpu.arch.isWasm();
/// Memory that lives as long as the stage.
pub const gpa: std.mem.Allocator = if (is_wasm) std.heap.wasm_allocator else std.heap.page_allocator;

/// Stands for "no time".
pub const no_time: i64 = std.math.minInt(i64);

pub const Description = struct {
    name: []const u8,
    version: []const u8,
    /// One line: what it does to records.
    summary: []const u8,
    /// The JSON Schema of its configuration. `type` and `additionalProperties: false` are added.
    schema: []const u8 = "{}",
};

/// A column that the stage reads.
pub const Field = union(enum) { key, value, attribute: u32 };
/// An output; 0 is the default one, `out`.
pub const Port = u32;

const Keeps = union(enum) { anything, nothing, by: Field };
const Names = std.ArrayList([]const u8);

/// What a stage declares in `open`.
pub const Setup = struct {
    reads_timestamps: bool = false,
    reads_key: bool = false,
    reads_value: bool = false,
    attributes: Names = .empty,
    ports: Names = .empty,
    inputs: Names = .empty,
    keeps: Keeps = .anything,

    /// Reads the value.
    pub fn value(self: *Setup) Field {
        self.reads_value = true;
        return .value;
    }
    /// Reads the key.
    pub fn key(self: *Setup) Field {
        self.reads_key = true;
        return .key;
    }
    /// Reads the times of the records.
    pub fn timestamp(self: *Setup) void {
        self.reads_timestamps = true;
    }
    /// Reads the attribute of this name, which a record may have or not.
    pub fn attribute(self: *Setup, name: []const u8) Field {
        return .{ .attribute = place(&self.attributes, name) };
    }
    /// Adds a port beside the default one.
    pub fn port(self: *Setup, name: []const u8) Port {
        return place(&self.ports, name);
    }
    /// Names one more input that the stage tells apart.
    pub fn input(self: *Setup, name: []const u8) u32 {
        return place(&self.inputs, name);
    }
    /// What it does with a record depends on this record alone: it runs on as many cores as there are.
    pub fn keepsNothing(self: *Setup) void {
        self.keeps = .nothing;
    }
    /// What it keeps belongs to one value of this column: instances share the keys.
    pub fn keepsByKey(self: *Setup, field: Field) void {
        self.keeps = .{ .by = field };
    }
    /// The error that refuses the configuration, with the reason for the operator.
    pub fn refuse(_: *Setup, reason: []const u8) Rejection {
        return the_out.reject(reason);
    }
    fn place(names: *Names, name: []const u8) u32 {
        for (names.items, 0..) |known, i| if (std.mem.eql(u8, known, name)) return @intCast(i);
        names.append(gpa, name) catch oom();
        return @intCast(names.items.len - 1);
    }
};

fn oom() noreturn {
    @panic("out of memory");
}

const Column = struct {
    ends: []const u32 = &.{},
    data: []const u8 = &.{},
    nulls: []const u32 = &.{},
    given: bool = false,

    fn get(self: *const Column, row: usize) ?[]const u8 {
        if (!self.given) return null;
        if (self.nulls.len > 0 and std.sort.binarySearch(u32, self.nulls, @as(u32, @intCast(row)), order) != null) return null;
        const start = if (row == 0) 0 else self.ends[row - 1];
        return self.data[start..self.ends[row]];
    }
    fn order(wanted: u32, found: u32) std.math.Order {
        return std.math.order(wanted, found);
    }
};

/// One record. The stage sees the columns that it declared in `open`.
pub const Record = struct {
    row: usize = 0,
    by: u32 = 0,
    times: ?[]const i64 = null,
    key: Column = .{},
    value: Column = .{},
    attributes: []Column = &.{},

    /// The bytes of a column in this record; null if it has none.
    pub fn get(self: *const Record, field: Field) ?[]const u8 {
        return switch (field) {
            .key => self.key.get(self.row),
            .value => self.value.get(self.row),
            .attribute => |i| self.attributes[i].get(self.row),
        };
    }
    /// Nanoseconds since 1970.
    pub fn time(self: *const Record) ?i64 {
        const times = self.times orelse return null;
        return if (times[self.row] == no_time) null else times[self.row];
    }
    /// Whether it came by this input.
    pub fn isFrom(self: *const Record, input: u32) bool {
        return self.by == input;
    }
};

const Numbers = std.ArrayList(u32);

/// A column that some rows change.
const Changed = struct {
    name: []const u8 = "",
    is_set: bool = false,
    ends: Numbers = .empty,
    data: std.ArrayList(u8) = .empty,
    nulls: Numbers = .empty,
    inherited: Numbers = .empty,

    fn set(self: *Changed, index: usize, bytes: ?[]const u8) void {
        const to = self.room(index, if (bytes) |b| b.len else 0);
        if (bytes) |b| @memcpy(to, b) else self.nulls.append(gpa, @intCast(index)) catch oom();
    }
    fn room(self: *Changed, index: usize, len: usize) []u8 {
        if (self.ends.items.len > index) self.truncate(index);
        self.catchUp(index);
        const to = self.data.addManyAsSlice(gpa, len) catch oom();
        self.ends.append(gpa, @intCast(self.data.items.len)) catch oom();
        return to;
    }
    fn catchUp(self: *Changed, len: usize) void {
        self.is_set = true;
        while (self.ends.items.len < len) {
            self.inherited.append(gpa, @intCast(self.ends.items.len)) catch oom();
            self.ends.append(gpa, @intCast(self.data.items.len)) catch oom();
        }
    }
    fn truncate(self: *Changed, len: usize) void {
        if (self.ends.items.len <= len) return;
        self.ends.shrinkRetainingCapacity(len);
        self.data.shrinkRetainingCapacity(if (len == 0) 0 else self.ends.items[len - 1]);
        popFrom(&self.nulls, len);
        popFrom(&self.inherited, len);
    }
    fn clear(self: *Changed) void {
        self.is_set = false;
        self.ends.clearRetainingCapacity();
        self.data.clearRetainingCapacity();
        self.nulls.clearRetainingCapacity();
        self.inherited.clearRetainingCapacity();
    }
};

fn popFrom(rows: *Numbers, len: usize) void {
    while (rows.items.len > 0 and rows.items[rows.items.len - 1] >= len) _ = rows.pop();
}

/// The rows of one output.
const Rows = struct {
    parents: Numbers = .empty,
    key: Changed = .{},
    value: Changed = .{},
    attributes: std.ArrayList(Changed) = .empty,
    times: std.ArrayList(i64) = .empty,
    inherited_times: Numbers = .empty,
    times_set: bool = false,

    fn emit(self: *Rows, parent: u32) Row {
        self.parents.append(gpa, parent) catch oom();
        return .{ .rows = self, .index = self.parents.items.len - 1 };
    }
    fn attribute(self: *Rows, name: []const u8) *Changed {
        for (self.attributes.items) |*column| if (std.mem.eql(u8, column.name, name)) return column;
        const copy = gpa.dupe(u8, name) catch oom();
        self.attributes.append(gpa, .{ .name = copy }) catch oom();
        return &self.attributes.items[self.attributes.items.len - 1];
    }
    fn catchUpTimes(self: *Rows, len: usize) void {
        self.times_set = true;
        while (self.times.items.len < len) {
            self.inherited_times.append(gpa, @intCast(self.times.items.len)) catch oom();
            self.times.append(gpa, no_time) catch oom();
        }
    }
    fn takeBack(self: *Rows, row: u32) void {
        while (self.parents.items.len > 0 and self.parents.items[self.parents.items.len - 1] == row) _ = self.parents.pop();
        const len = self.parents.items.len;
        self.key.truncate(len);
        self.value.truncate(len);
        for (self.attributes.items) |*column| column.truncate(len);
        if (self.times.items.len > len) {
            self.times.shrinkRetainingCapacity(len);
            popFrom(&self.inherited_times, len);
        }
    }
    fn clear(self: *Rows) void {
        self.parents.clearRetainingCapacity();
        self.times.clearRetainingCapacity();
        self.inherited_times.clearRetainingCapacity();
        self.times_set = false;
        self.key.clear();
        self.value.clear();
        for (self.attributes.items) |*column| column.clear();
    }
    /// Columns end where the rows end; what was not set is inherited.
    fn end(self: *Rows) void {
        const len = self.parents.items.len;
        if (self.key.is_set) self.key.catchUp(len);
        if (self.value.is_set) self.value.catchUp(len);
        for (self.attributes.items) |*column| if (column.is_set) column.catchUp(len);
        if (self.times_set) self.catchUpTimes(len);
    }
};

/// A record to be emitted: change what should be different, before the next one of its port is emitted.
pub const Row = struct {
    rows: *Rows,
    index: usize,

    /// Changing an earlier row would take away what later ones have.
    fn last(self: Row) *Rows {
        if (self.index + 1 != self.rows.parents.items.len) @panic("a row is changed after the next one was emitted");
        return self.rows;
    }
    pub fn setValue(self: Row, bytes: []const u8) void {
        self.last().value.set(self.index, bytes);
    }
    /// Room for a value of this length, which the stage writes before it does anything else.
    pub fn valueRoom(self: Row, len: usize) []u8 {
        return self.last().value.room(self.index, len);
    }
    pub fn setKey(self: Row, bytes: []const u8) void {
        self.last().key.set(self.index, bytes);
    }
    pub fn setAttribute(self: Row, name: []const u8, bytes: []const u8) void {
        self.last().attribute(name).set(self.index, bytes);
    }
    pub fn removeAttribute(self: Row, name: []const u8) void {
        self.last().attribute(name).set(self.index, null);
    }
    /// Nanoseconds since 1970; null takes the time away.
    pub fn setTime(self: Row, nanoseconds: ?i64) void {
        const rows = self.last();
        rows.catchUpTimes(self.index);
        rows.times.shrinkRetainingCapacity(self.index);
        popFrom(&rows.inherited_times, self.index);
        rows.times.append(gpa, nanoseconds orelse no_time) catch oom();
    }
};

const Rejected = struct { row: u32, reason: []const u8, retryable: bool };
/// The error of a record that a stage rejects with a reason.
pub const Rejection = error{Rejected};

/// Takes what a stage emits.
pub const Out = struct {
    row: u32 = 0,
    has_batch: bool = false,
    ports: std.ArrayList(Rows) = .empty,
    created: std.ArrayList(Rows) = .empty,
    rejected: std.ArrayList(Rejected) = .empty,
    reason: std.ArrayList(u8) = .empty,
    retryable: bool = false,

    /// Emits the current record on the default port.
    pub fn keep(self: *Out) Row {
        return self.send(0);
    }
    /// The same on another port.
    pub fn send(self: *Out, to: Port) Row {
        return self.ports.items[to].emit(self.row);
    }
    /// Emits a new record, which inherits nothing.
    pub fn create(self: *Out) Row {
        return self.createOn(0);
    }
    pub fn createOn(self: *Out, to: Port) Row {
        return self.created.items[to].emit(self.row);
    }
    /// The error that rejects the record, with a reason for the person who looks at dead letters.
    pub fn reject(self: *Out, reason: []const u8) Rejection {
        self.reason.clearRetainingCapacity();
        self.reason.appendSlice(gpa, reason) catch oom();
        return error.Rejected;
    }
    /// The same, of a record that may succeed later.
    pub fn retry(self: *Out, reason: []const u8) Rejection {
        self.retryable = true;
        return self.reject(reason);
    }

    fn begin(self: *Out, has_batch: bool) void {
        while (self.ports.items.len < the_setup.ports.items.len) {
            self.ports.append(gpa, .{}) catch oom();
            self.created.append(gpa, .{}) catch oom();
        }
        for (self.ports.items) |*rows| rows.clear();
        for (self.created.items) |*rows| rows.clear();
        for (self.rejected.items) |rejected| gpa.free(rejected.reason);
        self.rejected.clearRetainingCapacity();
        self.row = 0;
        self.has_batch = has_batch;
    }
    fn refuse(self: *Out, why: anyerror) void {
        @branchHint(.cold);
        for (self.ports.items) |*rows| rows.takeBack(self.row);
        for (self.created.items) |*rows| rows.takeBack(self.row);
        const reason = utf8(gpa, self.message(why));
        self.rejected.append(gpa, .{ .row = self.row, .reason = reason, .retryable = self.retryable }) catch oom();
    }
    fn message(self: *const Out, why: anyerror) []const u8 {
        return if (why == error.Rejected) self.reason.items else @errorName(why);
    }
};

/// Collects the state of a stage.
pub const Save = struct {
    first: u32,
    end: u32,
    count: u32,
    whole: std.ArrayList(u8) = .empty,
    groups: []std.ArrayList(u8),

    /// Saves the state of a stage; of one that keeps by key: what is the same in all its instances.
    pub fn put(self: *Save, bytes: []const u8) void {
        self.whole.clearRetainingCapacity();
        self.whole.appendSlice(gpa, bytes) catch oom();
    }
    /// Saves what belongs to one key.
    pub fn putKey(self: *Save, of: []const u8, bytes: []const u8) void {
        const group = std.hash.Crc32.hash(of) % @max(self.count, 1);
        if (group < self.first or group >= self.end) @panic("state is saved for a key that is not one of the records of this instance");
        append(&self.groups[group - self.first], of);
        append(&self.groups[group - self.first], bytes);
    }
    fn append(to: *std.ArrayList(u8), bytes: []const u8) void {
        var len: [4]u8 = undefined;
        std.mem.writeInt(u32, &len, @intCast(bytes.len), .little);
        to.appendSlice(gpa, &len) catch oom();
        to.appendSlice(gpa, bytes) catch oom();
    }
};

/// A saved state, and who saved it.
pub const Saved = struct {
    groups: []const []const u8,
    version: []const u8,
    config: []const u8,

    /// What was put; null if nothing was.
    pub fn whole(self: *const Saved) ?[]const u8 {
        if (self.groups.len == 0) return null;
        var rest = self.groups[self.groups.len - 1];
        return take(&rest);
    }
    /// All keys, and what was put for each.
    pub fn keys(self: *const Saved) Keys {
        return .{ .groups = self.groups };
    }
    pub const Keys = struct {
        groups: []const []const u8,
        rest: []const u8 = "",

        pub fn next(self: *Keys) ?struct { key: []const u8, state: []const u8 } {
            while (self.rest.len == 0) {
                if (self.groups.len == 0) return null;
                self.rest = self.groups[0];
                self.groups = self.groups[1..];
                _ = take(&self.rest);
            }
            const of = take(&self.rest) orelse return null;
            return .{ .key = of, .state = take(&self.rest) orelse return null };
        }
    };
    /// Whether each group is what `Save` writes.
    fn isWhole(self: *const Saved) bool {
        for (self.groups) |group| {
            var rest = group;
            _ = take(&rest) orelse return false;
            while (rest.len > 0) {
                _ = take(&rest) orelse return false;
                _ = take(&rest) orelse return false;
            }
        }
        return true;
    }
    fn take(from: *[]const u8) ?[]const u8 {
        if (from.len < 4) return null;
        const len = std.mem.readInt(u32, from.*[0..4], .little);
        if (from.len - 4 < len) return null;
        const taken = from.*[4..][0..len];
        from.* = from.*[4 + len ..];
        return taken;
    }
};

var the_setup: Setup = .{};
var the_record: Record = .{};
var the_out: Out = .{};
var the_config: std.ArrayList(u8) = .empty;

fn openStage(comptime S: type, config: []const u8) !void {
    the_setup = .{};
    the_setup.ports.append(gpa, "out") catch oom();
    the_config.clearRetainingCapacity();
    the_config.appendSlice(gpa, config) catch oom();
    const parsed = try std.json.parseFromSliceLeaky(S.Config, gpa, config, .{ .allocate = .alloc_always });
    try S.open(parsed, &the_setup);
    the_record.attributes = gpa.alloc(Column, the_setup.attributes.items.len) catch oom();
    @memset(the_record.attributes, .{});
}
fn processRows(comptime S: type, rows: usize) void {
    the_out.begin(true);
    for (0..rows) |row| {
        the_record.row = row;
        the_out.row = @intCast(row);
        the_out.retryable = false;
        S.process(&the_record, &the_out) catch |why| the_out.refuse(why);
    }
}

/// A copy of a text. A reason may hold the bytes of a record: what is not UTF-8 becomes U+FFFD.
fn utf8(allocator: std.mem.Allocator, text: []const u8) []const u8 {
    var copy: std.ArrayList(u8) = .empty;
    var at: usize = 0;
    while (at < text.len) {
        const len = std.unicode.utf8ByteSequenceLength(text[at]) catch 0;
        const fits = len > 0 and at + len <= text.len and std.unicode.utf8ValidateSlice(text[at..][0..len]);
        copy.appendSlice(allocator, if (fits) text[at..][0..len] else "\u{FFFD}") catch oom();
        at += if (fits) len else 1;
    }
    return copy.toOwnedSlice(allocator) catch oom();
}

/// Members that differ between two configurations, for a message; empty if none does.
fn differences(then: []const u8, now: []const u8) []const u8 {
    const options: std.json.ParseOptions = .{};
    const a = std.json.parseFromSliceLeaky(std.json.Value, gpa, then, options) catch return "";
    const b = std.json.parseFromSliceLeaky(std.json.Value, gpa, now, options) catch return "";
    var told: std.ArrayList(u8) = .empty;
    inline for (.{ .{ a, b, false }, .{ b, a, true } }) |sides| {
        var members = sides[0].object.iterator();
        while (members.next()) |member| {
            const other = sides[1].object.get(member.key_ptr.*);
            const same = if (other) |o| sides[2] or isSame(member.value_ptr.*, o) else false;
            if (same) continue;
            if (told.items.len > 0) told.appendSlice(gpa, ", ") catch oom();
            for ([_][]const u8{ "`", member.key_ptr.*, "`" }) |part| told.appendSlice(gpa, part) catch oom();
        }
    }
    return told.items;
}
fn isSame(a: std.json.Value, b: std.json.Value) bool {
    const text = std.json.Stringify.valueAlloc;
    const first = text(gpa, a, .{}) catch return false;
    const second = text(gpa, b, .{}) catch return false;
    return std.mem.eql(u8, first, second);
}

fn List(comptime T: type) type {
    return extern struct {
        ptr: ?[*]const T = null,
        len: usize = 0,
        fn of(items: []const T) @This() {
            return if (items.len == 0) .{} else .{ .ptr = items.ptr, .len = items.len };
        }
        fn slice(self: @This()) []const T {
            return if (self.ptr) |ptr| ptr[0..self.len] else &.{};
        }
    };
}
const Text = List(u8);
fn Option(comptime T: type) type {
    return extern struct {
        some: bool = false,
        value: T = .{},
        fn get(self: @This()) ?T {
            return if (self.some) self.value else null;
        }
        fn of(value: T) @This() {
            return .{ .some = true, .value = value };
        }
    };
}

/// The contract as extern structs, which are laid out as the canonical ABI lays them out.
const abi = struct {
    const GivenColumn = extern struct { ends: List(u32) = .{}, data: Text = .{}, nulls: Option(List(u32)) = .{} };
    const Batch = extern struct { len: u32, times: Option(List(i64)), key: Option(GivenColumn), value: Option(GivenColumn), attributes: List(Option(GivenColumn)), input: u32 };
    const Change = extern struct { ends: List(u32) = .{}, data: Text = .{}, nulls: List(u32) = .{}, inherited: List(u32) = .{} };
    const AttributeChange = extern struct { name: Text, change: Change };
    const Times = extern struct { times: List(i64) = .{}, inherited: List(u32) = .{} };
    const RowsOf = extern struct { tag: u8 = 0, payload: extern union { picked: List(u32), count: u32 } = .{ .picked = .{} } };
    const Output = extern struct { port: u32, rows: RowsOf, times: Option(Times) = .{}, key: Option(Change) = .{}, value: Option(Change) = .{}, attributes: List(AttributeChange) = .{}, removed: List(Text) = .{}, excerpts: Text = .{} };
    const AnsweredRejection = extern struct { row: u32, reason: Text, retryable: bool };
    const Outcome = extern struct { outputs: List(Output) = .{}, rejected: List(AnsweredRejection) = .{} };
    const Plan = extern struct { times: bool, key: bool, value: bool, attributes: List(Text), ports: List(Text), inputs: List(Text), keeps: extern struct { tag: u8 = 0, target: extern struct { tag: u8 = 0, name: Text = .{} } = .{} } };
    const Group = extern struct { number: u32, state: Text };
    fn Result(comptime T: type) type {
        return extern struct { failed: bool = false, value: extern union { ok: T, why: Text } };
    }
    comptime {
        if (is_wasm) std.debug.assert(@sizeOf(Batch) == 92 and @sizeOf(Output) == 132 and @sizeOf(Result(Plan)) == 48 and @sizeOf(Result(Outcome)) == 20);
    }
};

/// What the host writes for a call, and what is answered; free once the answer was read.
var arena_state: std.heap.ArenaAllocator = .init(gpa);
const arena = arena_state.allocator();

fn texts(names: []const []const u8) List(Text) {
    const list = arena.alloc(Text, names.len) catch oom();
    for (names, list) |name, *text| text.* = .of(name);
    return .of(list);
}
fn change(column: *const Changed, fresh: bool) abi.Change {
    var made: abi.Change = .{ .ends = .of(column.ends.items), .data = .of(column.data.items), .nulls = .of(column.nulls.items), .inherited = .of(column.inherited.items) };
    if (fresh and column.inherited.items.len > 0) { // New rows inherit nothing: they have no value.
        const nulls = arena.alloc(u32, column.nulls.items.len + column.inherited.items.len) catch oom();
        @memcpy(nulls[0..column.nulls.items.len], column.nulls.items);
        @memcpy(nulls[column.nulls.items.len..], column.inherited.items);
        std.mem.sort(u32, nulls, {}, std.sort.asc(u32));
        made.nulls = .of(nulls);
        made.inherited = .{};
    }
    return made;
}
fn output(rows: *Rows, port: usize, fresh: bool, given: usize) abi.Output {
    rows.end();
    const parents = rows.parents.items;
    var made: abi.Output = .{ .port = @intCast(port), .rows = .{} };
    if (fresh) {
        made.rows = .{ .tag = 2, .payload = .{ .count = @intCast(parents.len) } };
    } else {
        const all = parents.len == given and for (parents, 0..) |parent, i| {
            if (parent != i) break false;
        } else true;
        if (!all) made.rows = .{ .tag = 1, .payload = .{ .picked = .of(parents) } };
    }
    if (rows.times_set) made.times = .of(.{ .times = .of(rows.times.items), .inherited = if (fresh) .{} else .of(rows.inherited_times.items) });
    if (rows.key.is_set) made.key = .of(change(&rows.key, fresh));
    if (rows.value.is_set) made.value = .of(change(&rows.value, fresh));
    var changes: std.ArrayList(abi.AttributeChange) = .empty;
    for (rows.attributes.items) |*column| {
        if (column.is_set) changes.append(arena, .{ .name = .of(column.name), .change = change(column, fresh) }) catch oom();
    }
    made.attributes = .of(changes.items);
    return made;
}
fn outcome(given: usize) abi.Outcome {
    var outputs: std.ArrayList(abi.Output) = .empty;
    for ([_]bool{ false, true }) |created| {
        const ports = if (created) the_out.created.items else the_out.ports.items;
        for (ports, 0..) |*rows, port| {
            if (rows.parents.items.len == 0) continue;
            outputs.append(arena, output(rows, port, created or !the_out.has_batch, given)) catch oom();
        }
    }
    const rejected = arena.alloc(abi.AnsweredRejection, the_out.rejected.items.len) catch oom();
    for (the_out.rejected.items, rejected) |from, *to| to.* = .{ .row = from.row, .reason = .of(from.reason), .retryable = from.retryable };
    return .{ .outputs = .of(outputs.items), .rejected = .of(rejected) };
}
fn answered(comptime T: type, value: anyerror!T) *abi.Result(T) {
    const result = arena.create(abi.Result(T)) catch oom();
    result.* = if (value) |ok| .{ .value = .{ .ok = ok } } else |why| .{ .failed = true, .value = .{ .why = .of(utf8(arena, the_out.message(why))) } };
    return result;
}
fn loaded(given: Option(abi.GivenColumn)) Column {
    const found = given.get() orelse return .{};
    const nulls = if (found.nulls.get()) |rows| rows.slice() else &.{};
    return .{ .given = true, .ends = found.ends.slice(), .data = found.data.slice(), .nulls = nulls };
}

/// Exports a stage: a type with `description`, `Config`, `open` and `process`.
pub fn stage(comptime S: type) void {
    if (!is_wasm) return;
    const f = struct {
        fn describe() callconv(.c) *[4]Text {
            const d = S.description;
            const members = comptime std.mem.trim(u8, d.schema, " \t\r\n")[1..];
            const separator = comptime if (std.mem.trim(u8, members, " \t\r\n").len == 1) "" else ", ";
            const schema = "{\"type\": \"object\", \"additionalProperties\": false" ++ separator ++ members;
            const made = arena.create([4]Text) catch oom();
            made.* = .{ .of(d.name), .of(d.version), .of(d.summary), .of(schema) };
            return made;
        }
        fn open(ptr: [*]const u8, len: usize) callconv(.c) *abi.Result(abi.Plan) {
            the_out.reason.clearRetainingCapacity();
            return answered(abi.Plan, plan(ptr[0..len]));
        }
        fn plan(config: []const u8) !abi.Plan {
            try openStage(S, config);
            const s = &the_setup;
            var made: abi.Plan = .{ .times = s.reads_timestamps, .key = s.reads_key, .value = s.reads_value, .attributes = texts(s.attributes.items), .ports = texts(s.ports.items), .inputs = texts(s.inputs.items), .keeps = .{} };
            switch (s.keeps) {
                .anything => {},
                .nothing => made.keeps.tag = 1,
                .by => |field| {
                    made.keeps.tag = 2;
                    switch (field) {
                        .key => {},
                        .value => made.keeps.target.tag = 1,
                        .attribute => |i| made.keeps.target = .{ .tag = 2, .name = .of(s.attributes.items[i]) },
                    }
                },
            }
            return made;
        }
        fn process(b: *const abi.Batch) callconv(.c) *abi.Result(abi.Outcome) {
            the_record.by = b.input;
            the_record.times = if (b.times.get()) |times| times.slice() else null;
            the_record.key = loaded(b.key);
            the_record.value = loaded(b.value);
            for (b.attributes.slice(), the_record.attributes) |given, *to| to.* = loaded(given);
            processRows(S, b.len);
            return answered(abi.Outcome, outcome(b.len));
        }
        fn finish() callconv(.c) *abi.Result(abi.Outcome) {
            return answered(abi.Outcome, finished());
        }
        fn finished() !abi.Outcome {
            the_out.begin(false);
            if (@hasDecl(S, "finish")) try S.finish(&the_out);
            return outcome(0);
        }
        fn advance(watermark: i64) callconv(.c) *abi.Result(abi.Outcome) {
            return answered(abi.Outcome, advanced(watermark));
        }
        fn advanced(watermark: i64) !abi.Outcome {
            the_out.begin(false);
            try S.advance(watermark, &the_out);
            return outcome(0);
        }
        fn save(first: u32, end: u32, count: u32) callconv(.c) *abi.Result(List(abi.Group)) {
            return answered(List(abi.Group), saved(first, end, count));
        }
        fn saved(first: u32, end: u32, count: u32) !List(abi.Group) {
            var to: Save = .{ .first = first, .end = end, .count = count, .groups = arena.alloc(std.ArrayList(u8), end - first) catch oom() };
            @memset(to.groups, .empty);
            try S.save(&to);
            var groups: std.ArrayList(abi.Group) = .empty;
            for (to.groups, first..) |entries, number| {
                if (to.whole.items.len == 0 and entries.items.len == 0) continue;
                var state: std.ArrayList(u8) = .empty;
                Save.append(&state, to.whole.items);
                state.appendSlice(gpa, entries.items) catch oom();
                const copy = arena.dupe(u8, state.items) catch oom();
                state.deinit(gpa);
                groups.append(arena, .{ .number = @intCast(number), .state = .of(copy) }) catch oom();
            }
            for (to.groups) |*entries| entries.deinit(gpa);
            to.whole.deinit(gpa);
            return .of(groups.items);
        }
        fn restore(ptr: ?[*]const abi.Group, len: usize, version: ?[*]const u8, version_len: usize, config: ?[*]const u8, config_len: usize) callconv(.c) *abi.Result(Text) {
            const groups = arena.alloc([]const u8, len) catch oom();
            if (ptr) |from| for (from[0..len], groups) |group, *to| {
                to.* = group.state.slice();
            };
            const from: Saved = .{ .groups = groups, .version = if (version) |v| v[0..version_len] else "", .config = if (config) |c| c[0..config_len] else "" };
            return answered(Text, restored(&from));
        }
        fn restored(from: *const Saved) !Text {
            const told = differences(from.config, the_config.items);
            if (told.len > 0) {
                const message = std.mem.concat(arena, u8, &.{ "it was made with another configuration; what differs: ", told }) catch oom();
                return the_out.reject(message);
            }
            if (!from.isWhole()) return the_out.reject("it was saved in another format");
            try S.restore(from);
            return .{};
        }
        fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(.c) ?[*]u8 {
            if (size == 0) return null;
            const p = arena.rawAlloc(size, std.mem.Alignment.fromByteUnits(alignment), @returnAddress()) orelse oom();
            if (old) |from| @memcpy(p[0..@min(old_size, size)], from[0..@min(old_size, size)]);
            return p;
        }
        fn release(_: usize) callconv(.c) void {
            _ = arena_state.reset(.retain_capacity);
        }
    };
    exported(f, "stage", .{ "describe", "open", "process", "finish" });
    if (@hasDecl(S, "save")) exported(f, "checkpoint", .{ "save", "restore" });
    if (@hasDecl(S, "advance")) exported(f, "watermark", .{"advance"});
    @export(&f.realloc, .{ .name = "cabi_realloc" });
}
fn exported(comptime f: type, comptime interface: []const u8, comptime functions: anytype) void {
    inline for (functions) |name| {
        const full = "pipehost:stage/" ++ interface ++ "@0.2.0#" ++ name;
        @export(&@field(f, name), .{ .name = full });
        @export(&f.release, .{ .name = "cabi_post_" ++ full });
    }
}

/// Runs a stage in `zig test`, without WebAssembly.
pub const testing = struct {
    pub const TestRecord = struct { value: ?[]const u8 = null, key: ?[]const u8 = null, time: i64 = no_time, attributes: []const [2][]const u8 = &.{} };

    /// Opens a stage with a configuration, as JSON.
    pub fn open(comptime S: type, config: []const u8) !void {
        try openStage(S, config);
    }
    /// Processes records as one batch.
    pub fn process(comptime S: type, records: []const TestRecord) void {
        the_record.key = made(records, "key");
        the_record.value = made(records, "value");
        for (the_setup.attributes.items, the_record.attributes) |name, *to| to.* = made(records, name);
        const times = gpa.alloc(i64, records.len) catch oom();
        for (records, times) |record, *time| time.* = record.time;
        the_record.times = times;
        processRows(S, records.len);
        for (the_out.ports.items) |*rows| rows.end();
        for (the_out.created.items) |*rows| rows.end();
    }
    /// How many records went to a port.
    pub fn len(port: Port) usize {
        return the_out.ports.items[port].parents.items.len + the_out.created.items[port].parents.items.len;
    }
    /// The value that a record on a port was given; null if it was not changed, or has none.
    pub fn changedValue(port: Port, row: usize) ?[]const u8 {
        const kept = &the_out.ports.items[port];
        const count = kept.parents.items.len;
        const rows = if (row < count) kept else &the_out.created.items[port];
        const at = if (row < count) row else row - count;
        if (!rows.value.is_set or std.mem.indexOfScalar(u32, rows.value.inherited.items, @intCast(at)) != null) return null;
        const start = if (at == 0) 0 else rows.value.ends.items[at - 1];
        return rows.value.data.items[start..rows.value.ends.items[at]];
    }
    /// Whether a record was rejected that may succeed later.
    pub fn isRetryable(row: usize) bool {
        for (the_out.rejected.items) |rejected| if (rejected.row == row) return rejected.retryable;
        return false;
    }
    /// Why a record was rejected; null if it was not.
    pub fn reason(row: usize) ?[]const u8 {
        for (the_out.rejected.items) |rejected| if (rejected.row == row) return rejected.reason;
        return null;
    }
    fn made(records: []const TestRecord, name: []const u8) Column {
        var column_of: Changed = .{};
        for (records, 0..) |record, row| column_of.set(row, cell(record, name));
        return .{ .given = true, .ends = column_of.ends.items, .data = column_of.data.items, .nulls = column_of.nulls.items };
    }
    fn cell(record: TestRecord, name: []const u8) ?[]const u8 {
        if (std.mem.eql(u8, name, "key")) return record.key;
        if (std.mem.eql(u8, name, "value")) return record.value;
        for (record.attributes) |pair| if (std.mem.eql(u8, pair[0], name)) return pair[1];
        return null;
    }
};
