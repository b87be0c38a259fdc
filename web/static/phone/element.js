/** Build an element; what customers wrote only ever becomes text, never markup. */
export function element(tag, attributes = {}, ...children) {
  const built = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) built.setAttribute(name, value);
  built.append(...children); // strings become text nodes
  return built;
}
