// kv_f32: keys and values kept as f32; four dimensions are a vec4u of bits.
alias KvQuad = vec4u;
fn unpackKv(quad: KvQuad) -> vec4f { return bitcast<vec4f>(quad); }
fn packKv(value: vec4f) -> KvQuad { return bitcast<vec4u>(value); }
