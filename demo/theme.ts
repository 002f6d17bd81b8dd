/** Light, dark, or as the system has it. */
import { required } from './dom';
import { loadTheme, saveTheme, type Theme } from './settings';

const NEXT: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' };
const NAMES: Record<Theme, string> = { auto: 'Automatic', light: 'Light', dark: 'Dark' };

export function setUpTheme(): void {
  const button = required('theme', HTMLButtonElement);
  const name = document.getElementById('theme-name'); // where the button has words
  let theme = loadTheme();
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const label = `Theme: ${NAMES[theme].toLowerCase()}. Change to ${NAMES[NEXT[theme]].toLowerCase()}`;
    button.setAttribute('aria-label', label);
    button.title = label;
    if (name) name.textContent = NAMES[theme];
  };
  button.addEventListener('click', () => {
    theme = NEXT[theme];
    saveTheme(theme);
    apply();
  });
  apply();
}
