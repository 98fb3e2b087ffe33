import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EbpfRedirector } from '../../src/redirect/ebpf/redirector.ts';
import { nodeDirectory } from '../../src/redirect/ebpf/pins.ts';
import { linkDetach, objGet } from '../../src/sys/bpf.ts';
import { closeFd } from '../../src/sys/socket.ts';
import { listing, output, redirectorSuite } from '../spec/redirector.ts';

const objectPath = fileURLToPath(new URL('../../bpf/capture.bpf.o', import.meta.url));

redirectorSuite({
  name: 'eBPF',
  open: (node) => new EbpfRedirector({ node, objectPath }),
  sabotage: (_, pod, node) => {
    const [directory = ''] = listing(nodeDirectory(node)).map((name) => `${nodeDirectory(node)}/${name}`);
    rmSync(`${directory}/pods/${pod.netns.cookie}`);
    rmSync(`${directory}/maps/accepted`, { force: true });
    const connect = objGet(`${directory}/links/connect4`);
    if (connect === undefined) return;
    linkDetach(connect);
    closeFd(connect);
    rmSync(`${directory}/links/socket_ops`, { force: true });
  },
  footprint: () => {
    const mount = readFileSync('/proc/self/mounts', 'utf8').split('\n').find((line) => line.includes(' cgroup2 '))?.split(' ')[1] ?? '';
    return [...listing('/sys/fs/bpf/orlop'), output('bpftool', ['cgroup', 'show', mount])];
  },
});
