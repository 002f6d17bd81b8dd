// scale_none: what each unit of x gives counts as it is.
fn unitScale(unit: u32) -> f32 { return 1.0; }
