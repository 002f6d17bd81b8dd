// embed: rows of the embedding matrix for a step's token ids.
//   ids [tokens] u32;  y [tokens, COLS] f32;  weights: matrix_affine or matrix_float
// A vocabulary too large for one binding comes in parts: a part writes the rows it holds and leaves the others alone.
// One thread per four columns; grid.y = token.
override COLS: u32;
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let quad = id.x;
  let token = id.y;
  let row = ids[token] - record.a.w; // wraps below the part, so one comparison tests both ends
  if (quad >= COLS / 4u || row >= record.a.z) { return; }
  y[token * (COLS / 4u) + quad] = weight4(row, quad);
}
