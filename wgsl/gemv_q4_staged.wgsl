// gemv_q4_staged: gemv_q4 in 16-byte reads: y = W x for one token, W in 4-bit affine groups of 32, 64 or 128.
//   x [COLS] f32;  y f32, row r of this part at record.a.w + r;  ACCUMULATE adds to y (the residual) in place of writing it
//   weights: matrix_affine with BITS 4; 32 divides GROUP, GROUP divides COLS
// x passes through workgroup memory (x_staged), where the teams of a workgroup share it. Which lane takes what is in row_blocks, with
// one block a team; what a unit adds is in q4_unit. A step reads its weights right before it needs them and keeps nothing: reading
// them a step ahead takes registers, and with them the threads that would hide the wait.
override STEPS: u32 = CHUNK / LANES;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  var sums = vec4f();
  for (var chunk = 0u; chunk < CHUNKS; chunk++) {
    stage(chunk, thread.index);
    for (var t = 0u; t < STEPS; t++) {
      let staged = t * LANES + place.lane;
      let unit = chunk * CHUNK + staged;
      if (unit < UNITS) { sums += addRows(readRows(place.row, unit), readUnit(staged)); }
    }
  }
  teamPut(0u, sums, place, thread);
  finish(place, thread);
}
