/** A conversation with all that one can have, brought in as a visitor would: through the import. */
import { poll, type TestPage } from './launch';

const text = `## How a canal lock works

A **lock** lifts a boat between two levels of water; see [the guide](https://example.com/locks). It takes \`three\` steps:

1. Close the lower gates and open the *upper sluice* until the levels agree.
2. Open the upper gates.
   - Slowly.
3. Leave, and close what you opened.

\`\`\`python
def fill(chamber, rate=2.5):
    """Fills the chamber, in metres."""
    while chamber.level < chamber.upper:
        chamber.level += rate * 0.1  # a tenth of a second
    return chamber
\`\`\`

The flow through a sluice of area $A$ is

$$Q = C_d A \\sqrt{2 g h}$$

| step | seconds | litres |
|:-----|--------:|-------:|
| fill |     180 | 90,000 |
| wait |      20 |      0 |

> It takes patience, and a good windlass.
`;

const turns = [
  {
    parent: -1,
    role: 'user',
    text: 'How does a canal lock work? Use my notes.',
    attachments: [{ name: 'notes.txt', text: 'words' }],
  },
  {
    parent: 0,
    role: 'assistant',
    text,
    thoughts: 'First the gates…',
    calls: [{ name: 'look_up', arguments: '{"word":"lock"}' }],
    end: 'stop',
  },
  { parent: 0, role: 'assistant', text: 'Another version.', end: 'stop' },
];

export const richConversations = JSON.stringify({
  format: 'sluice.conversations',
  version: 1,
  conversations: ['How does a canal lock work?', 'Three dinners from rice and eggs', 'Names of the stars'].map((title, i) => ({
    ...{ id: `rich-${i}`, title, createdAt: 1, updatedAt: Date.now() - i * 4e6, turns, leaf: 1 },
  })),
});

/** Imports them and opens the first one. */
export async function showConversation(page: TestPage): Promise<void> {
  await page.evaluate((json) => {
    const input = document.querySelector<HTMLInputElement>('[data-testid=import-input]')!;
    const files = new DataTransfer();
    files.items.add(new File([json], 'conversations.json', { type: 'application/json' }));
    input.files = files.files;
    input.dispatchEvent(new Event('change'));
  }, richConversations);
  await poll('the imported conversation', () =>
    page.evaluate(() => {
      const open = [...document.querySelectorAll<HTMLElement>('[data-testid=chat-open]')].find((row) =>
        row.textContent?.includes('canal'),
      );
      open?.click();
      return open !== undefined || undefined;
    }),
  );
  await poll('its reply', () =>
    page.evaluate(() => (document.querySelector('.words math') && document.querySelector('.hljs-keyword')) !== null || undefined),
  );
}
