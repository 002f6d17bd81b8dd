// gemm_q4_few_int: gemm_q4_few on an x of integers, as gemv_q4_int is of gemv_q4_staged.
//   x [tokens, COLS/32] units as emit_int writes them;  y, ACCUMULATE, weights: as gemm_q4_few
// Four dot products a plane take 16 columns of a row and a token; masks are once for all tokens.
override PLANES: u32;
override STRIDE: u32 = 2u * PLANES + 1u;
@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> step: Step;

/// Words of the four rows of a unit, a struct field for each eight columns: even columns' nibbles, then odd ones'.
struct Codes { e0: vec4u, e1: vec4u, e2: vec4u, e3: vec4u, o0: vec4u, o1: vec4u, o2: vec4u, o3: vec4u };

fn codesOf(r: Rows) -> Codes {
  let mask = vec4u(0x0f0f0f0fu);
  let four = vec4u(4u);
  return Codes(r.w0 & mask, r.w1 & mask, r.w2 & mask, r.w3 & mask,
    (r.w0 >> four) & mask, (r.w1 >> four) & mask, (r.w2 >> four) & mask, (r.w3 >> four) & mask);
}

/// Of four rows and the same word of x.
fn dots(w: vec4u, word: u32) -> vec4i {
  return vec4i(dot4I8Packed(w.x, word), dot4I8Packed(w.y, word), dot4I8Packed(w.z, word), dot4I8Packed(w.w, word));
}

fn plane(c: Codes, even: vec4u, odd: vec4u) -> vec4i {
  return dots(c.e0, even.x) + dots(c.e1, even.y) + dots(c.e2, even.z) + dots(c.e3, even.w) +
    dots(c.o0, odd.x) + dots(c.o1, odd.y) + dots(c.o2, odd.z) + dots(c.o3, odd.w);
}

/// With one unit of a token added: sum(q * x) * scale + sum(x) * bias. With two planes integers stay below 2^24, which f32 holds exactly.
fn madd(sums: vec4f, token: u32, unit: u32, c: Codes, r: Rows) -> vec4f {
  let at = (tokenAt(token) * UNITS + unit) * STRIDE;
  var sum = plane(c, x[at], x[at + 1u]);
  if (PLANES == 2u) { sum = sum * 256 + plane(c, x[at + 2u], x[at + 3u]); }
  let s = bitcast<vec4f>(x[at + STRIDE - 1u]); // scale, excess, sum
  return fma(fma(vec4f(sum), vec4f(s.x), vec4f(s.y)), r.scale, fma(vec4f(s.z), r.bias, sums));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = (wg.z * grid.x + wg.x) * 4u * TEAMS; // row blocks past 65,535 fold into grid.z
  let token = wg.y * TOKENS;
  let own = row + thread / LANES * 4u;
  var sums = Sums();
  for (var t = 0u; t < STEPS; t++) {
    let unit = t * LANES + thread % LANES;
    if (unit < UNITS) {
      let r = readRows(own, unit);
      let c = codesOf(r);
      sums.t0 = madd(sums.t0, token, unit, c, r);
      sums.t1 = madd(sums.t1, token + 1u, unit, c, r);
      if (TOKENS > 2u) {
        sums.t2 = madd(sums.t2, token + 2u, unit, c, r);
        sums.t3 = madd(sums.t3, token + 3u, unit, c, r);
      }
      if (TOKENS > 4u) {
        sums.t4 = madd(sums.t4, token + 4u, unit, c, r);
        sums.t5 = madd(sums.t5, token + 5u, unit, c, r);
        sums.t6 = madd(sums.t6, token + 6u, unit, c, r);
        sums.t7 = madd(sums.t7, token + 7u, unit, c, r);
      }
    }
  }
  store(sums, row, token, thread);
}
