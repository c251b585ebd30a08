import { podUidOf } from '@nsm/agent/identity/cgroup.js'
import t from 'tap'

const uid = '0b0f6f0c-4c1e-4a6e-9f5e-2d1a4f2b8c11'
const slice = uid.replaceAll('-', '_')
const hash = '5e0bd5bf1c2e4a7ab3f0d9c8e7f60a1b'
const id = 'a'.repeat(64)

t.test('the pod is found in every form that kubelet and container runtimes write', async (t) => {
  const forms: Readonly<Record<string, string>> = {
    'v2, systemd': `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${slice}.slice/cri-containerd-${id}.scope`,
    'v2, systemd, guaranteed': `0::/kubepods.slice/kubepods-pod${slice}.slice/crio-${id}.scope`,
    'v2, cgroupfs': `0::/kubepods/besteffort/pod${uid}/${id}`,
    'v2, cgroupfs, guaranteed': `0::/kubepods/pod${uid}/${id}`,
    'v2, a root of its own': `0::/node1/kubepods/burstable/pod${uid}/${id}`,
    'v2, kubelet in a container, systemd': `0::/system.slice/docker-${id}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod${slice}.slice/cri-containerd-${id}.scope`,
    'v2, seen from a cgroup namespace': `0::/../../besteffort/pod${uid}/${id}`,
    'v2, from one beside it': `0::/../../pod${uid}/${id}`,
    'v2, from one under systemd': `0::/../../kubepods-besteffort.slice/kubepods-besteffort-pod${slice}.slice/cri-containerd-${id}.scope`,
    'v2, groups below the container': `0::/kubepods/pod${uid}/${id}/init/worker`,
    'v2, a group that was removed': `0::/kubepods/pod${uid} (deleted)`,
    v1: `12:pids:/kubepods/burstable/pod${uid}/${id}\n11:cpu,cpuacct:/kubepods/burstable/pod${uid}/${id}\n1:name=systemd:/kubepods/burstable/pod${uid}/${id}`,
    'v1 and v2': `9:name=systemd:/kubepods/burstable/pod${uid}/${id}\n8:misc:/\n0::/`,
  }
  for (const [form, text] of Object.entries(forms)) t.equal(podUidOf(`${text}\n`), uid, form)
  t.equal(podUidOf(`0::/kubepods/burstable/pod${hash}/${id}\n`), hash, 'a static pod')
  t.equal(podUidOf(`0::/kubepods.slice/kubepods-pod${hash}.slice/cri-containerd-${id}.scope\n`), hash)
})

t.test('who is in no pod is in no pod, whatever the groups are called', async (t) => {
  const other = uid.replace('0b', '1c')
  const forms: Readonly<Record<string, string>> = {
    'the node’s own services': '0::/system.slice/sshd.service\n',
    'kubelet itself': '0::/kubepods\n',
    'a class without a pod': '0::/kubepods/burstable\n',
    nothing: '',
    'no UID': `0::/kubepods/podxyz/${id}\n`,
    'a user’s own group': `0::/user.slice/user-1000.slice/user@1000.service/kubepods/pod${uid}\n`,
    'a user’s own group, from a cgroup namespace': `0::/../../user.slice/user-1000.slice/user@1000.service/kubepods/pod${uid}\n`,
    'a group of another program': `0::/system.slice/docker/pod${uid}\n`,
    'a group at the top': `0::/pod${uid}\n`,
    'a class of nobody’s': `0::/burstable/pod${uid}\n`,
    'hierarchies that do not agree': `2:pids:/kubepods/pod${uid}/${id}\n0::/kubepods/pod${other}/${id}\n`,
  }
  for (const [form, text] of Object.entries(forms)) t.equal(podUidOf(text), undefined, form)
  t.equal(
    podUidOf(`0::/kubepods/pod${uid}/${id}/kubepods/pod${other}\n`),
    uid,
    'a pod that may make groups cannot make itself another pod',
  )
})
