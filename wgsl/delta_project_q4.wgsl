// delta_project_q4: norm_gemv_q4 of all that a delta rule reads, its rows of q, k and v convolved over time.
//   x: see norm_rows, where the loop is;  y, state, and record.b.z: see write_row_convolved
//   weights: as in norm_rows
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(THREADS)
fn main(thread: Thread, @builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let place = placeOf(thread.index, wg.y * grid.x + wg.x); // workgroups past 65,535 fold into grid.y
  begin(place);
  writeRow(normedSum(place, thread), place);
}
