// sample_logits: the logits as sampling sees them, after the penalties.
//   logits [VOCAB or more] f32, read as bits, because a compiler may take it that no float is NaN
//   history [VOCAB] u32: bit 31 = in the prompt, below it the count in the reply
override VOCAB: u32;

fn isFinite(bits: u32) -> bool { return (bits & 0x7f800000u) != 0x7f800000u; }

fn keyAt(id: u32) -> u32 {
  let bits = logits[id];
  if (params.penalised == 0u) { return keyOf(bits); }
  let past = history[id];
  if (past == 0u) { return keyOf(bits); }
  var logit = bitcast<f32>(bits);
  logit *= select(params.repetition, params.inverseRepetition, logit > 0.0);
  let count = past & 0x7fffffffu;
  if (count > 0u) { logit -= params.presence + f32(count) * params.frequency; }
  return keyOf(bitcast<u32>(logit));
}
