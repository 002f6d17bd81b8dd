// x_far: a token's x straight from memory (x_units), where a workgroup's own has no room for it: see x_near.
fn stageX(first: u32, thread: u32) {}

/// Unit `unit` of the x that begins at unit `first`.
fn unitOf(first: u32, unit: u32) -> Unit { return readUnit(first + unit); }
