/** Runs tasks in order, a few at a time. */
export interface TaskQueue {
  /** `task` must not reject. */
  add(task: () => Promise<void>): void
}

/** @param concurrency how many run at a time */
export function taskQueue(concurrency: number): TaskQueue {
  let tasks: (() => Promise<void>)[] = []
  let started = 0
  let running = 0

  function work(): void {
    while (running < concurrency) {
      const task = tasks[started]
      if (task === undefined) {
        tasks = []
        started = 0
        return
      }
      started += 1
      running += 1
      void task().finally(() => {
        running -= 1
        work()
      })
    }
  }

  return {
    add(task) {
      tasks.push(task)
      work()
    },
  }
}
