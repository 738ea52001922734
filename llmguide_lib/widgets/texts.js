// Sentences in the reader's language.

// The sentence of a key in a language, {0}, {1} ... replaced by the values.
export function speaker(texts, lang) {
  return (key, ...values) => texts[key][lang].replace(/\{(\d)\}/g, (_, place) => values[place]);
}
