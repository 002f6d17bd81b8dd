// planes: of how many int8 an integer activation is made.
override PLANES: u32;
