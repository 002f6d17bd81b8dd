// kv_f16: keys and values kept as pairs of f16 in u32, which needs no shader-f16; four dimensions are a vec2u.
alias KvQuad = vec2u;
fn unpackKv(quad: KvQuad) -> vec4f { return vec4f(unpack2x16float(quad.x), unpack2x16float(quad.y)); }
/// Saturates: what pack2x16float makes of a value beyond f16's range is not defined.
fn packKv(value: vec4f) -> KvQuad {
  let v = clamp(value, vec4f(-65504.0), vec4f(65504.0));
  return vec2u(pack2x16float(v.xy), pack2x16float(v.zw));
}
