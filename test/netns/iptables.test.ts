import { IptablesRedirector } from '../../src/redirect/iptables/redirector.ts';
import { redirectorSuite } from '../spec/redirector.ts';

redirectorSuite({
  name: 'iptables',
  open: () => new IptablesRedirector(),
  sabotage: (cluster, pod) => {
    cluster.exec(pod, 'iptables', ['-t', 'nat', '-F']);
    cluster.exec(pod, 'ip6tables', ['-t', 'nat', '-D', 'OUTPUT', '1']);
    cluster.exec(pod, 'ip', ['route', 'flush', 'table', '100']);
    cluster.exec(pod, 'sysctl', ['-w', 'net.ipv4.tcp_fwmark_accept=0', 'net.ipv4.fwmark_reflect=0']);
  },
  footprint: () => [],
});
