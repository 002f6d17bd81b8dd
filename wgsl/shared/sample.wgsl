// sample: what every sampling kernel shares. A token is drawn as engine/sampling.ts draws it, in f32.
// Ids lie in blocks of 256 * PER, at most 128 of them, and thread t of a workgroup owns PER neighbouring ids: the order of blocks,
// threads and a thread's own ids is the order of ids. Sums of f32 are made in a fixed order, so equal inputs draw equal tokens.
override PER: u32; override BLOCKS: u32;
const NONE = 0xffffffffu; // no id

/// Of one request; the twin of packSampleParams.
struct Params {
  temperature: f32, topP: f32, minP: f32,
  repetition: f32, inverseRepetition: f32, presence: f32, frequency: f32,
  topK: u32,
  penalised: u32, // 0: none of the penalties is on
  limited: u32,   // 1: passes of sample_histogram count out the top-k
  nucleus: u32,   // 1: top-p is on
  pad: u32,
};

/// What the first dispatch finds in a block: its largest logit as a key, the lowest id that has it, the lowest id whose logit is not
/// finite (or NONE) and that logit's bits; and what sample_sums adds: the weights above the cut, and how many keys lie on it.
struct Block { key: u32, id: u32, badId: u32, badBits: u32, sum: f32, ties: u32 };

/// Which logits are left: those with a larger key, and of those with this one the `ties` lowest ids. On the way there, `key` is its
/// leading bytes, `above` what larger keys amount to, and `wanted` what all that are left must reach: counts, or weights as `fixed`.
struct Cut { key: u32, ties: u32, above: vec2u, wanted: vec2u };

/// In the order of the floats; -0 and 0 have one key, and no finite float has key 0.
fn keyOf(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return bits; }
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}

fn valueOf(key: u32) -> f32 { return bitcast<f32>(select(~key, key ^ 0x80000000u, key >= 0x80000000u)); }

/// exp((logit - largest logit) / temperature): at most 1.
fn weightOf(key: u32, largest: u32) -> f32 { return exp((valueOf(key) - valueOf(largest)) / params.temperature); }

/// Of (key, id): a larger logit, or the same and a lower id.
fn better(a: vec2u, b: vec2u) -> bool { return a.x > b.x || (a.x == b.x && a.y < b.y); }
