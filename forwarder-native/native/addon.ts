import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { DescriptorInfo, NamespaceState, NativeError, PeerCredentials, VethPair } from './surface.ts'

/** A failure as the addon hands it over: an ordinary value. */
interface Refusal {
  readonly errno: number
  readonly code: string
  readonly operation: string
  readonly object: string
  readonly message: string
  readonly failures: readonly { readonly index: number; readonly error: Refusal }[]
}

type Answer<T> = T | Refusal

/** Watches one descriptor on the event loop: 1 readable, 2 writable; its callback gets a negative number on errors. */
export interface Poller {
  watch(events: number): number
  keepAlive(wanted: boolean): void
  close(): void
}

/** The addon's own functions; `native.ts` and `unix-socket.ts` make the public ones of them. */
export interface Addon {
  open(path: string, pathOnly: boolean): Answer<number>
  close(fd: number): Answer<boolean>
  duplicate(fd: number): Answer<number>
  describeDescriptor(fd: number): Answer<DescriptorInfo>
  ownNetns(): Answer<number>
  createNetns(): Promise<Answer<number>>
  peerCredentials(socketFd: number): Answer<PeerCredentials>
  /** `kernel`: 0 = as it is, 2 = as before 6.5. */
  peerIsAlive(socketFd: number, kernel: number): Answer<boolean>
  /** `kernel`: 0 = as it is, 1 = as before 6.11, 2 = as before 6.5. */
  peerNetns(socketFd: number, kernel: number): Promise<Answer<number>>
  createVeth(pair: VethPair): Promise<Answer<boolean>>
  createBridge(netnsFd: number, name: string): Promise<Answer<boolean>>
  apply(netnsFd: number, changes: readonly object[]): Promise<Answer<boolean>>
  read(netnsFd: number, parts: readonly string[]): Promise<Answer<NamespaceState>>
  deleteLinks(netnsFd: number, names: readonly string[]): Promise<Answer<boolean>>
  /** `kernel`: 0 = as it is, 1 = as before 5.12. */
  bindMount(source: string, target: string, kernel: number): Promise<Answer<boolean>>
  unmount(target: string): Promise<Answer<boolean>>
  connectUnix(path: string): Answer<number>
  listenUnix(path: string, mode: number, backlog: number): Answer<number>
  acceptUnix(listener: number): Answer<number>
  receive(socket: number, buffer: Buffer, found: Int32Array): Answer<number>
  send(socket: number, bytes: Uint8Array, from: number, descriptor: number): Answer<number>
  shutdownWrite(socket: number): Answer<boolean>
  pingSend(source: string, destination: string, mark: number): Answer<number>
  pingReplied(socket: number, mark: number): Answer<boolean>
  readonly Poller: new (fd: number, ready: (events: number) => void) => Poller
}

/** The value, or the failure thrown. */
export function unwrap<T>(answer: Answer<T>): T {
  if (isRefusal(answer)) throw errorOf(answer)
  return answer
}

function isRefusal(answer: unknown): answer is Refusal {
  return typeof answer === 'object' && answer !== null && 'errno' in answer
}

function errorOf(refusal: Refusal): NativeError {
  const { message, failures, ...fields } = refusal
  const error = Object.assign(new Error(message), { name: 'NativeError' }, fields)
  if (failures.length === 0) return error
  return Object.assign(error, {
    failures: failures.map((one) => ({ index: one.index, error: errorOf(one.error) })),
  })
}

let loaded: Addon | undefined

/** The addon, loaded on first use: from `NSM_NATIVE_ADDON`, else beside this file or one folder up. */
export function addon(): Addon {
  loaded ??= load()
  return loaded
}

function load(): Addon {
  const beside = ['./nsm-native.node', '../nsm-native.node'].map((name) =>
    fileURLToPath(new URL(name, import.meta.url)),
  )
  const named = process.env['NSM_NATIVE_ADDON']
  const places = named === undefined || named === '' ? beside : [named]
  const path = places.find((place) => existsSync(place))
  if (path === undefined) {
    throw new Error(
      `the native addon is at none of ${places.join(', ')}; build it with forwarder-native/native/build`,
    )
  }
  const module = { exports: {} }
  process.dlopen(module, path)
  return module.exports as Addon
}
