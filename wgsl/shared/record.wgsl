// record: where a dispatch's weights lie; see src/model/weight_table.ts.
struct Record { a: vec4u, b: vec4u };
@group(0) @binding(15) var<uniform> record: Record;
