/** Text that a backup or another user chose, made safe for a terminal: control characters are shown as `\x1b`. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
