// code_bytes: of how many int8 the codes of two neighbouring activations are made: 2, 3, 4 or 6.
override CODE_BYTES: u32;
