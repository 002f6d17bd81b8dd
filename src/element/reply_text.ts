/**
 * How a reply's text becomes elements. Whatever takes the place of `plainText` (Markdown, say) gets the text piece by piece and an
 * element of its own; text from a model is text from a stranger.
 */
export type ReplyText = {
  append(text: string): void;
  /** No more will come. */
  end(): void;
};

export type RenderReply = (container: HTMLElement) => ReplyText;

/** One text node; the style sheet keeps its line breaks. */
export const plainText: RenderReply = (container) => {
  const text = document.createTextNode('');
  container.append(text);
  return { append: (more) => text.appendData(more), end: () => {} };
};
