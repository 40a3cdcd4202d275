/** Tables as models write them, with difficult content: long words, Chinese, addresses, code, many columns. */

const row = (cells: string[]): string => `| ${cells.join(" | ")} |`;

/** The first row is the head. */
const table = (...rows: string[][]): string => {
  const [head = [], ...body] = rows;
  return [row(head), row(head.map(() => "---")), ...body.map(row)].join("\n");
};

const columns = (count: number, word: (column: number) => string): string[] =>
  Array.from({ length: count }, (_, column) => word(column));

const ENGLISH = [
  table(
    ["Feature", "Tidegate", "A typical proxy"],
    ["Reconnection", "Resumes at the last word that was shown", "Starts the answer again from its beginning"],
    ["Backpressure", "Bounded queues everywhere", "Unbounded buffering until memory is exhausted"],
    ["Authentication", "Configurable per listener", "Left to the application"],
  ),
  table(
    ["Step", "Description", "Responsible", "Deadline", "Status"],
    [
      "1",
      "Preliminary characterisation of the measurement equipment",
      "Instrumentation",
      "2026-11-30",
      "Done",
    ],
    ["2", "Interdepartmental reconciliation of requirements", "Administration", "2026-12-15", "In progress"],
  ),
  table(["Pros", "Cons"], ["Fast", "Expensive"], ["Straightforward to operate", "Undocumented"]),
  table(
    ["Word", "Meaning"],
    ["antidisestablishmentarianism", "opposition to the disestablishment of a state church"],
    ["pneumonoultramicroscopicsilicovolcanoconiosis", "a lung disease"],
    ["floccinaucinihilipilification", "the habit of estimating something as worthless"],
  ),
  table(
    ["Real-time", "Well-known", "State-of-the-art", "End-to-end", "Mother-in-law"],
    ["read/write", "client/server", "up-to-date", "day-by-day", "left-hand-side"],
  ),
  table(
    ["Port", "High water", "Low water", "Range", "Coefficient"],
    ["Saint-Malo", "06:20", "12:55", "12.0 m", "95"],
    ["Brest", "04:48", "11:02", "6.1 m", "95"],
  ),
  table(
    columns(12, (column) => `Quarter ${column + 1}`),
    columns(12, (column) => `${(column + 1) * 1000}.50`),
  ),
  table(["Name"], ["Constantinople"], ["Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch"]),
  table(
    ["**Important**", "*Emphasised*", "~~Withdrawn~~"],
    ["**Characterisation**", "*Misunderstanding*", "~~Incomprehensible~~"],
  ),
];

const CHINESE = [
  table(
    ["功能", "说明", "状态"],
    ["断线重连", "从最后显示的字继续，不重复也不遗漏", "已完成"],
    ["限流", "每个连接都有上限，超过时给出明确的提示", "进行中"],
  ),
  table(["港口", "高潮", "落差"], ["上海", "05:12", "3.2 米"], ["青岛", "04:48", "4.1 米"]),
  table(
    ["方案", "优点", "缺点", "适用场景", "成本"],
    [
      "自建机房",
      "数据完全掌握在自己手里，延迟低而且稳定",
      "前期投入大，需要专门的运维人员",
      "对合规要求高的金融和医疗行业",
      "高",
    ],
    [
      "公有云",
      "弹性伸缩，按用量付费，几分钟就能上线",
      "长期费用不低，出口流量另外计费",
      "初创公司和流量波动大的业务",
      "中",
    ],
    [
      "混合云",
      "敏感数据放在本地，其余放在云端",
      "架构复杂，排查问题要跨两边",
      "已有机房又想逐步上云的企业",
      "中",
    ],
  ),
  table(["月份", "一", "二", "三", "四", "五", "六"], ["雨量", "12", "34", "56", "78", "90", "120"]),
  table(
    ["型号", "参数量", "上下文长度"],
    ["qwen-plus", "未公开", "131,072 个词元"],
    ["qwen-turbo", "未公开", "1,000,000 个词元"],
  ),
  table(
    ["项目", "Feature", "备注"],
    ["重连 Reconnect", "Backpressure 背压控制", "使用 WebSocket 协议，支持断点续传"],
  ),
  table(["成语", "解释"], ["水落石出", "水落下去，水底的石头就露出来。比喻事情的真相完全显露出来。"]),
  table(
    ["機能", "説明"],
    ["再接続", "最後に表示した文字から続けます。"],
    ["バックプレッシャー", "すべてのキューに上限があります。"],
  ),
];

const GERMAN = [
  table(
    ["Begriff", "Erklärung"],
    ["Donaudampfschifffahrtsgesellschaftskapitän", "Kapitän einer Gesellschaft für Dampfschifffahrt"],
    ["Rechtsschutzversicherungsgesellschaften", "Unternehmen, die Prozesskosten versichern"],
  ),
  table(
    ["Verordnung", "Zuständigkeit", "Geltungsbereich", "Inkrafttreten"],
    [
      "Grundstücksverkehrsgenehmigungszuständigkeitsübertragungsverordnung",
      "Landesregierung",
      "Grundstücksverkehr",
      "1. Januar 2003",
    ],
  ),
  table(
    ["Geschwindigkeitsbegrenzung", "Höchstgeschwindigkeit", "Ausnahmegenehmigung"],
    ["innerorts", "50 km/h", "Feuerwehrfahrzeuge"],
    ["Autobahn", "Richtgeschwindigkeit 130 km/h", "Schwertransporte"],
  ),
  table(
    ["E-Mail-Adresse", "Straßenverkehrs-Ordnung", "Hals-Nasen-Ohren-Arzt"],
    ["Öffentlichkeitsarbeit", "Kraftfahrzeug-Haftpflichtversicherung", "Krankenversicherungskarte"],
  ),
];

const ADDRESSES = [
  table(
    ["Name", "Link"],
    ["Documentation", "https://docs.example.com/en/latest/reference/configuration.html#timeouts-and-limits"],
    ["Source", "https://git.example.com/organisation/repository/-/blob/main/src/lib.rs?plain=1#L120-L160"],
  ),
  table(
    ["Site", "Address", "Comment"],
    ["Tides", "[the tables](https://example.org/tides?id=1)", "updated daily"],
    ["Mirror", "https://mirror.example.net/pub/tides/2026/", "weekly"],
  ),
  table(
    ["Path", "Purpose"],
    ["/etc/nginx/conf.d/tidegate.conf", "Reverse proxy configuration"],
    ["C:/Users/Administrator/AppData/Local/Temp", "Temporary files"],
  ),
];

const CODE = [
  table(
    ["Flag", "Default", "Meaning"],
    ["`--listen`", "`127.0.0.1:8000`", "Where the gateway accepts connections"],
    ["`--set server.drain=30s`", "`20s`", "How long running answers may take when it stops"],
    ["`--upstream-connect-timeout-milliseconds`", "`5000`", "The time to connect"],
  ),
  table(
    ["Method", "Signature"],
    ["`map`", "`fn map<B, F>(self, f: F) -> Map<Self, F> where F: FnMut(Self::Item) -> B`"],
    ["`filter`", "`fn filter<P>(self, predicate: P) -> Filter<Self, P>`"],
  ),
  table(
    ["Expression", "Result"],
    ["`a \\| b`", "the union"],
    ["`std::collections::BTreeMap::<String, Vec<u8>>::new()`", "an empty map"],
  ),
  table(["Digest", "File"], ["`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`", "empty"]),
];

const OTHERS = [
  table(["الميناء", "المدّ العالي", "المدى"], ["بريست", "04:48", "6.1 م"], ["سان مالو", "06:20", "12.0 م"]),
  table(["Emoji", "Name"], ["🌊", "water wave"], ["👩‍👩‍👧", "family of three"]),
];

/** Thirty of them. */
export const TABLES: string[] = [...ENGLISH, ...CHINESE, ...GERMAN, ...ADDRESSES, ...CODE, ...OTHERS];
