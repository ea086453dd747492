/** What a guest, a store, a chain or a snapshot may be called: it becomes a folder's name and part of commands. */
export const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
export const plainNameRule =
  'a name of letters, digits, ".", "_" and "-", at most 63, that begins with a letter or digit';
