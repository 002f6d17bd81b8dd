// quantise_q8: x as int8 for gemv_q4_q8, a scale per 32 values: x = scale * code to half a step, code in -127..127.
//   x [COLS] f32;  y [COLS/32] units of three vec4u: codes of the even columns, codes of the odd columns, (scale, excess, sum, 0)
// Word i of either vec4u holds columns 8i + (0, 2, 4, 6), odd ones + 1, lowest bits first: the order in which two masks take the
// nibbles out of a word of weights. sum is the exact sum(x); excess = 8 * (sum(x) - scale * sum(code)) makes the product
// with weights q as accurate as that with q - 8. One thread per unit.
override COLS: u32;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;

fn most(a: vec4f, b: vec4f) -> f32 {
  let m = max(abs(a), abs(b));
  return max(max(m.x, m.y), max(m.z, m.w));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let unit = id.x;
  if (unit >= COLS / 32u) { return; }
  let at = unit * 8u;
  let largest = max(max(most(x[at], x[at + 1u]), most(x[at + 2u], x[at + 3u])), max(most(x[at + 4u], x[at + 5u]), most(x[at + 6u], x[at + 7u])));
  let scale = largest / 127.0;
  let steps = select(127.0 / largest, 0.0, largest < 1e-30);
  var even = vec4u();
  var odd = vec4u();
  var codes = 0;
  var sums = vec4f();
  for (var i = 0u; i < 4u; i++) {
    let a = x[at + 2u * i];
    let b = x[at + 2u * i + 1u];
    let ca = vec4i(round(a * steps));
    let cb = vec4i(round(b * steps));
    even[i] = pack4xI8(vec4i(ca.xz, cb.xz));
    odd[i] = pack4xI8(vec4i(ca.yw, cb.yw));
    let c = ca + cb;
    codes += c.x + c.y + c.z + c.w;
    sums += a + b;
  }
  let sum = dot(sums, vec4f(1.0));
  y[3u * unit] = even;
  y[3u * unit + 1u] = odd;
  y[3u * unit + 2u] = bitcast<vec4u>(vec4f(scale, 8.0 * (sum - scale * f32(codes)), sum, 0.0));
}
