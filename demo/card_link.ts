import { type CatalogueEntry, modelCard } from './catalogue';

/** A model's licence, as a link to where it can be read before anything is downloaded. */
export function cardLink({ id, name, licence }: CatalogueEntry): HTMLElement {
  const link = document.createElement('a');
  link.textContent = licence ?? 'not stated';
  link.href = modelCard(id);
  link.rel = 'noopener noreferrer';
  link.target = '_blank';
  link.setAttribute('aria-label', `${link.textContent}, see the model card of ${name}`);
  return link;
}
