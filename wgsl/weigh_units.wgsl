// weigh_units: the first half of an RMSNorm of one token, where no product in front of it could do it: see weigh.
//   x [COLS] f32;  units: x * w [COLS] as emit_* writes it;  squares [COLS/32] f32
//   weights: record.a.x = w [COLS] f32 final multipliers. One thread per unit of 32 values. 32 divides COLS.
override COLS: u32;
@group(0) @binding(0) var<storage, read_write> units: array<Emitted>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  if (unit >= COLS / 32u) { return; }
  let at = unit * 8u;
  weigh(unit, record.a.x, Values(x[at], x[at + 1u], x[at + 2u], x[at + 3u], x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]));
}
