/** Waits until `holds`, looking again with each turn of the event loop; a test that waits in vain ends by its own time-out. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1))
}

/** Lets promises run that wait for nothing but each other. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}
