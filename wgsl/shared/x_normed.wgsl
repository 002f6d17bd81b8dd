// x_normed: x_tile of x * w, and what RMSNorm multiplies that by: x [COLS] f32 and w [COLS] f32, from record.b.w on in `parameters`. Every
// workgroup finds both anew, which costs it less than a dispatch of the norm where COLS are few.
override EPS: f32;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
var<workgroup> squares: array<f32, THREADS>;
var<workgroup> sixteenths: array<f32, 16>;

fn weighted(quad: u32) -> vec4f { return x[quad] * parameter4(record.b.w + quad); }

/// All threads of a workgroup call it, once.
fn stageNormed(thread: u32) {
  var sum = vec4f();
  for (var quad = thread; quad < COLS / 4u; quad += THREADS) {
    sum += x[quad] * x[quad];
    putQuad(quad, weighted(quad));
  }
  squares[thread] = dot(sum, vec4f(1.0));
  workgroupBarrier();
  sumTile(thread);
  if (thread < 16u) {
    var own = 0.0;
    for (var i = thread; i < THREADS; i += 16u) { own += squares[i]; }
    sixteenths[thread] = own;
  }
  workgroupBarrier();
}

/// (mean(x^2) + EPS)^-1/2, behind stageNormed.
fn normScale() -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < 16u; i++) { sum += sixteenths[i]; }
  return inverseSqrt(sum / f32(COLS) + EPS);
}
