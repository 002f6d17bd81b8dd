/** What stands where the conversation will be: what this model is, and a few ways to begin. */

import { required } from './dom';
import { isolated } from './format';
import { type ModelChoice, modelLabel } from './model_choice';

type Introduction = { title: string; text: string; suggestions: string[] };

const STORY: Introduction = {
  title: 'A story, made in this tab',
  text:
    'The story model is a toy: 12.9 million parameters that write short children’s stories and know nothing else. ' +
    'It runs on your own device, and what you write stays here.',
  suggestions: [
    'Tell me a story about a fox who lost its tail.',
    'Write a short story about a boat, a storm and a star.',
    'Tell me a story about Lily and a dragon.',
    'Tell me a story about a cat and a key.',
  ],
};

const GENERAL: Omit<Introduction, 'title'> = {
  text: 'It runs on your own device, and what you write stays here.',
  suggestions: [
    'Explain how a canal lock works, in five sentences.',
    'Write a limerick about a very patient gatekeeper.',
    'Suggest three dinners from rice, eggs and spinach.',
    'What is a good way to learn the names of the stars?',
  ],
};

const TEMPORARY: Omit<Introduction, 'suggestions'> = {
  title: 'Temporary chat',
  text: 'Nothing of it is stored: it is in no list and in no search, and it is gone with this page or the next chat.',
};

export class EmptyState {
  readonly root = required('empty', HTMLElement);

  constructor(private readonly onSuggestion: (text: string) => void) {}

  introduce(choice: ModelChoice, temporary = false): void {
    const { title, text, suggestions } = {
      ...(choice.kind === 'bundled' ? STORY : { ...GENERAL, title: `Ask ${isolated(modelLabel(choice))}` }),
      ...(temporary ? TEMPORARY : {}),
    };
    required('empty-title', HTMLElement).textContent = title;
    required('empty-text', HTMLElement).textContent = text;
    required('empty-licence', HTMLElement).hidden = choice.kind !== 'bundled'; // the other models' stand where they are chosen
    required('suggestions', HTMLElement).replaceChildren(...suggestions.map((suggestion) => this.#item(suggestion)));
  }

  #item(text: string): HTMLElement {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'suggestion';
    button.dataset.testid = 'suggestion';
    button.textContent = text;
    button.addEventListener('click', () => this.onSuggestion(text));
    item.append(button);
    return item;
  }
}
