// x_near: a token's x through workgroup memory (x_tile), on its way while a kernel finds out what to multiply it by.
fn stageX(first: u32, thread: u32) {
  for (var quad = thread; quad < COLS / 4u; quad += THREADS) { putQuad(quad, x[first * 8u + quad]); }
  workgroupBarrier();
  sumTile(thread);
  workgroupBarrier();
}

/// Unit `unit` of the x that begins at unit `first`.
fn unitOf(first: u32, unit: u32) -> Unit { return tileUnit(unit); }
