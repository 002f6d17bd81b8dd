// picks_given: the experts of each token as a kernel before this one wrote them: picks [tokens, CHOSEN] u32.
override CHOSEN: u32;
@group(0) @binding(1) var<storage, read> picks: array<u32>;

/// The expert of choice `choice`, counted over all tokens.
fn pickOf(choice: u32, thread: u32, isFirst: bool) -> u32 { return picks[choice]; }
