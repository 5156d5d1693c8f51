//! JSON in lines that people can read: a function in Zig for `interface wasi`.
//!
//! zig build-exe -target wasm32-wasi -O ReleaseSmall json.zig

const std = @import("std");

const Request = struct {
    body: []const u8 = "",
};

pub fn main() !void {
    // The instance goes with the request: nothing has to be freed.
    const allocator = std.heap.wasm_allocator;
    const input = try std.io.getStdIn().readToEndAlloc(allocator, 64 << 20);
    const request = try std.json.parseFromSliceLeaky(Request, allocator, input, .{ .ignore_unknown_fields = true });

    var status: u16 = 200;
    var body: []const u8 = undefined;
    if (std.json.parseFromSliceLeaky(std.json.Value, allocator, request.body, .{})) |value| {
        body = try std.json.stringifyAlloc(allocator, value, .{ .whitespace = .indent_2 });
    } else |err| {
        status = 400;
        body = try std.fmt.allocPrint(allocator, "this is not JSON: {s}\n", .{@errorName(err)});
    }

    var stdout = std.io.bufferedWriter(std.io.getStdOut().writer());
    try std.json.stringify(.{
        .status = status,
        .headers = .{ .@"Content-Type" = if (status == 200) "application/json" else "text/plain" },
        .body = body,
    }, .{}, stdout.writer());
    try stdout.flush();
}
