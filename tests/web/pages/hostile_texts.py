"""Fifty texts that somebody might write to break a page; each is a message as it stands."""

MARKUP = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//x.example/x.js></SCRIPT>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1)</script></svg>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<base href=//x.example/>",
    "<meta http-equiv=refresh content='0;url=//x.example/'>",
    "<link rel=stylesheet href=//x.example/x.css>",
    "<style>*{display:none}</style>",
    "<form action=//x.example/><button>Log in</button></form>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "</textarea></title></details></script><h1>",
    "</pre><plaintext>",
    "<!-- --><![CDATA[ <x> ]]>",
    "<<script>script>alert(1)<</script>/script>",
    "&lt;b&gt; &amp; &#60;i&#62; &nbsp;",
]
QUOTES = [
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "` onclick=`alert(1)",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "'; DROP TABLE reviews; --",
    "\\'; alert(1); //",
    "</script><script>alert(1)//",
    "A & B \"quoted\" 'twice'",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
]
TEMPLATES = [
    "{{ 7 * 7 }} {% raw %} {# x #}",
    "${7*7} #{7*7} <%= 7 * 7 %>",
    "{product} %s %(name)s {0}",
    "constructor.constructor('alert(1)')()",
    "__proto__",
    "data: x\nevent: review\nid: 1",
    '{"card": "<img src=x onerror=alert(1)>"}',
    '=HYPERLINK("http://x.example")',
]
CHARACTERS = [
    "\u202eevil\u2066 \u202d",
    "\u200fright \u200eto \u061cleft",
    "Z\u0351\u036b\u0343a\u0352\u0346l\u0357\u0310g\u0301\u0489o" + "\u0301" * 200,
    "\u0663\u0664 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 abc \u05e2\u05d1\u05e8\u05d9\u05ea",
    "👩‍👩‍👧‍👦" * 50,
    "🏳️‍🌈🇪🇺👍🏽\ufe0f",
    "a\u200b\u2060b\u00adc\ufeffd",
    "\ufb01\u212b\u1e9b\u0323 \uff1cscript\uff1e",
    "𝕬𝖓𝖌𝖗𝖞 𠜎𠜱 \U0010fffd",
    "one\u2028two\u2029three\u0085four",
]
LONG = [
    "x" * 8_000,
    "line" + "\n" * 40 + "line",
    "ein zwei drei " * 500 + "vier",
]
HOSTILE = [*MARKUP, *QUOTES, *TEMPLATES, *CHARACTERS, *LONG]
