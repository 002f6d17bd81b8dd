// write_convolved: what write_normed needs beside it where its rows are those of a delta rule: see write_row_convolved.
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<uniform> step: Step;
