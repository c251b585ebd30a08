import { readFileSync } from 'node:fs'
import path from 'node:path'
import { checkout } from './tools.ts'

/** Name of a part's image on the nodes, with the tag that the chart asks for. */
export function partImage(part: string): string {
  const { version } = JSON.parse(readFileSync(path.join(checkout, 'package.json'), 'utf8')) as {
    version: string
  }
  return `localhost/nsm/${part}:${version}`
}
