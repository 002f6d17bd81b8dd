// code_bytes: of how many int8 the codes of two neighbouring activations are made.
override CODE_BYTES: u32;
