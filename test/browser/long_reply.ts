/** A reply with everything that Markdown has, for measuring what showing it costs. */

/** A token of English is about four characters; 200 tokens a second. */
export const CHARACTERS_PER_SECOND = 800;
const REPLY_CHARACTERS = 16_000;

export const SECTION = `## How a lock works

A canal **lock** has *two gates* and a chamber. The \`sluice\` lets water in; see [the page](https://example.com/locks).

1. Close the lower gate.
2. Open the upper sluice until the levels agree: $h_1 = h_2$.
3. Open the gate.

\`\`\`python
def fill(chamber, rate=2.5):
    """Fills the chamber."""
    while chamber.level < chamber.upper:
        chamber.level += rate * 0.1  # metres
    return chamber
\`\`\`

| step | seconds | litres |
|:-----|--------:|-------:|
| fill |     180 | 90,000 |
| wait |      20 |      0 |

$$Q = C_d A \\sqrt{2 g h} \\quad \\text{for a sluice of area } A$$

> It takes patience, and a good windlass.

`;
/** 4,000 tokens. */
export const longReply = SECTION.repeat(Math.ceil(REPLY_CHARACTERS / SECTION.length)).slice(0, REPLY_CHARACTERS);
