// weigh_units: the first half of an RMSNorm of one token, where no product in front of it could do it: see weigh.
//   x [COLS] f32;  units: x * w [COLS] as emit_* writes it;  squares [COLS/32] f32
//   weights: record.a.x = w [COLS] f32 final multipliers. Four threads a unit of 32 values. 32 divides COLS.
override COLS: u32;
const EMITTERS = 64u;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let unit = wg.x * 16u + thread / 4u;
  let writes = unit < COLS / 32u;
  let at = unit * 8u + thread % 4u * 2u;
  weigh(unit, thread, writes, Quarter(x[at], x[at + 1u]), ownWeights(record.a.x, unit, thread));
}
