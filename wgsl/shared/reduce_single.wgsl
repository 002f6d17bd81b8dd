// reduce_single: a workgroup of one thread, which has nothing to reduce: for CPU adapters, which run a workgroup on one thread
// and pay dearly for barriers.
const LANES = 1u;
struct Lane { @builtin(local_invocation_index) index: u32 };
fn reduceAdd(value: vec4f, lane: Lane) -> vec4f { return value; }
fn reduceMax(value: f32, lane: Lane) -> f32 { return value; }
