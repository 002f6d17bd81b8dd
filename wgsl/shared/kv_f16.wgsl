// kv_f16: keys and values kept as pairs of f16 in u32, which needs no shader-f16; four dimensions are a vec2u.
alias KvQuad = vec2u;
fn unpackKv(quad: KvQuad) -> vec4f { return vec4f(unpack2x16float(quad.x), unpack2x16float(quad.y)); }
fn packKv(value: vec4f) -> KvQuad { return vec2u(pack2x16float(value.xy), pack2x16float(value.zw)); }
