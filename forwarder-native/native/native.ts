import { addon, unwrap } from './addon.ts'
import { ping } from './ping.ts'
import type { Native } from './surface.ts'

/** The functions of the addon, which is loaded on first use. */
export const native: Native = {
  open: (path, mode) => unwrap(addon().open(path, mode === 'path')),
  close: (fd) => void unwrap(addon().close(fd)),
  duplicate: (fd) => unwrap(addon().duplicate(fd)),
  describe: (fd) => unwrap(addon().describeDescriptor(fd)),
  ownNetns: () => unwrap(addon().ownNetns()),
  createNetns: async () => unwrap(await addon().createNetns()),
  peerCredentials: (socketFd) => unwrap(addon().peerCredentials(socketFd)),
  peerNetns: async (socketFd) => unwrap(await addon().peerNetns(socketFd, 0)),
  createVeth: async (pair) => void unwrap(await addon().createVeth(pair)),
  createBridge: async (netnsFd, name) => void unwrap(await addon().createBridge(netnsFd, name)),
  apply: async (netnsFd, changes) => void unwrap(await addon().apply(netnsFd, changes)),
  read: async (netnsFd, parts) => unwrap(await addon().read(netnsFd, parts)),
  deleteLinks: async (netnsFd, names) => void unwrap(await addon().deleteLinks(netnsFd, names)),
  bindMount: async (source, target) => void unwrap(await addon().bindMount(source, target, 0)),
  unmount: async (target) => unwrap(await addon().unmount(target)),
  ping,
}
