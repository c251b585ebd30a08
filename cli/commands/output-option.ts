import { Option } from 'commander'

/** `-o table` or `-o json`; anything else is refused. */
export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table')
}
