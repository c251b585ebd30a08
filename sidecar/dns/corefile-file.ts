import { rename, writeFile } from 'node:fs/promises'

/** A file that CoreDNS reads whenever it has changed. */
export interface CorefileFile {
  /** Replaces it at once; the same text again writes nothing. */
  write(text: string): Promise<void>
}

export function corefileFile(path: string): CorefileFile {
  let written: string | undefined
  return {
    async write(text) {
      if (text === written) return
      const draft = `${path}.new`
      await writeFile(draft, text, { mode: 0o644 })
      await rename(draft, path)
      written = text
    },
  }
}
