"""Find the mailbox provider of a recipient in a table of domains and the user's own table. Pure.

Only the names of providers become labels, never domains; a domain in neither table is :data:`OTHER`. The domain of the
address decides, not the operator of its mail server: a company's own domain at Google or Microsoft is ``other`` unless
the user adds it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from exporter.classification.labels import OTHER

# A domain matches only itself; "*.example.com" matches all domains below it. Wildcards are only used for providers that
# give subdomains to customers or regions. Other subdomains, such as those of a provider's newsletters or mailing lists,
# are not its mailboxes.
PROVIDERS: Final[Mapping[str, str]] = {
    # Worldwide
    "gmail": "gmail.com googlemail.com",
    "microsoft": """
        outlook.com outlook.at outlook.be outlook.cl outlook.co.id outlook.co.il outlook.co.th outlook.com.ar
        outlook.com.au outlook.com.br outlook.com.gr outlook.com.tr outlook.com.vn outlook.cz outlook.de outlook.dk
        outlook.es outlook.fr outlook.hu outlook.ie outlook.in outlook.it outlook.jp outlook.kr outlook.lv outlook.my
        outlook.ph outlook.pt outlook.sa outlook.sg outlook.sk
        hotmail.com hotmail.at hotmail.be hotmail.ca hotmail.ch hotmail.cl hotmail.co.id hotmail.co.il hotmail.co.jp
        hotmail.co.kr hotmail.co.nz hotmail.co.th hotmail.co.uk hotmail.co.za hotmail.com.ar hotmail.com.au
        hotmail.com.br hotmail.com.hk hotmail.com.mx hotmail.com.tr hotmail.com.tw hotmail.com.vn hotmail.cz hotmail.de
        hotmail.dk hotmail.es hotmail.fi hotmail.fr hotmail.gr hotmail.hu hotmail.it hotmail.my hotmail.nl hotmail.no
        hotmail.ph hotmail.rs hotmail.se hotmail.sg hotmail.sk
        live.com live.at live.be live.ca live.ch live.cl live.cn live.co.kr live.co.uk live.co.za live.com.ar
        live.com.au live.com.mx live.com.my live.com.pt live.com.sg live.de live.dk live.fi live.fr live.hk live.ie
        live.in live.it live.jp live.nl live.no live.ru live.se
        msn.com windowslive.com passport.com
        *.onmicrosoft.com
    """,  # *.onmicrosoft.com: one for each customer of Microsoft 365
    "yahoo": """
        yahoo.com yahoo.at yahoo.be yahoo.ca yahoo.ch yahoo.cl yahoo.co.id yahoo.co.il yahoo.co.in yahoo.co.kr
        yahoo.co.nz yahoo.co.th yahoo.co.uk yahoo.co.za yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.co yahoo.com.hk
        yahoo.com.mx yahoo.com.my yahoo.com.pe yahoo.com.ph yahoo.com.sg yahoo.com.tr yahoo.com.tw yahoo.com.ve
        yahoo.com.vn yahoo.cz yahoo.de yahoo.dk yahoo.es yahoo.fi yahoo.fr yahoo.gr yahoo.hu yahoo.ie yahoo.in yahoo.it
        yahoo.nl yahoo.no yahoo.pl yahoo.pt yahoo.ro yahoo.se ymail.com rocketmail.com myyahoo.com
        aol.com aol.co.uk aol.de aol.fr aol.it aol.es aol.nl aol.be aol.at aol.ch aol.se aol.ca aol.com.au aol.com.br
        aol.com.mx aol.jp aim.com netscape.net cs.com compuserve.com verizon.net
    """,  # verizon.net: its mailboxes moved to AOL in 2017
    "apple": "icloud.com me.com mac.com privaterelay.appleid.com",  # the last one is "Hide My Email"
    "proton": "proton.me protonmail.com protonmail.ch pm.me",
    "zoho": "zoho.com zoho.eu zoho.in zohomail.com zohomail.eu zohomail.in",
    "fastmail": """
        fastmail.com fastmail.fm fastmail.net fastmail.org fastmail.us fastmail.co.uk fastmail.de fastmail.nl sent.com
        *.fastmail.com *.fastmail.fm
    """,  # anything@user.fastmail.com is an address of user@fastmail.com
    "tuta": "tuta.com tuta.io tutanota.com tutanota.de tutamail.com keemail.me",
    "mail_com": "mail.com email.com usa.com myself.com consultant.com post.com europe.com engineer.com",
    # The Netherlands
    "kpn": """
        kpnmail.nl kpnplanet.nl planet.nl hetnet.nl telfort.nl telfortglasvezel.nl tiscali.nl xs4all.nl
        *.xs4all.nl demon.nl *.demon.nl xmsnet.nl 12move.nl freeler.nl wxs.nl
    """,  # *.xs4all.nl, *.demon.nl: hosts of customers. tiscali.nl became part of Telfort, then of KPN
    "ziggo": """
        ziggo.nl ziggomail.com upcmail.nl home.nl chello.nl casema.nl multiweb.nl quicknet.nl hahah.nl
        razcall.nl razcall.com
    """,
    "odido": "odido.nl tmobile.nl t-mobilethuis.nl tele2.nl versatel.nl zonnet.nl wanadoo.nl orange.nl",
    "online_nl": "online.nl euronet.nl",
    "solcon": "solcon.nl",
    "delta": "zeelandnet.nl deltanet.nl",
    "caiway": "caiway.nl kabelfoon.nl",
    # Belgium
    "telenet": "telenet.be pandora.be",
    "proximus": "proximus.be skynet.be belgacom.net scarlet.be",
    "voo": "voo.be brutele.be tvcablenet.be",
    # Germany, Austria and Switzerland
    "gmx": "gmx.de gmx.net gmx.at gmx.ch gmx.com gmx.eu gmx.org gmx.info gmx.biz gmx.fr gmx.co.uk gmx.us",
    "web_de": "web.de email.de",
    "t_online": "t-online.de magenta.de",
    "freenet": "freenet.de",
    "vodafone_de": "vodafone.de vodafonemail.de arcor.de kabelmail.de unitybox.de",
    "1und1": "1und1.de online.de onlinehome.de",
    "telefonica_de": "o2online.de o2mail.de alice-dsl.net alice.de",
    "posteo": "posteo.de posteo.net posteo.at posteo.eu posteo.org",
    "mailbox_org": "mailbox.org",
    "a1": "a1.net aon.at",
    "bluewin": "bluewin.ch",
    # France
    "orange": "orange.fr wanadoo.fr",
    "free": "free.fr aliceadsl.fr libertysurf.fr freesbee.fr",
    "sfr": "sfr.fr neuf.fr club-internet.fr cegetel.net numericable.fr noos.fr 9online.fr",
    "laposte": "laposte.net",
    "bouygues": "bbox.fr",
    # Italy
    "libero": "libero.it inwind.it iol.it blu.it giallo.it",
    "virgilio": "virgilio.it",
    "tim": "tim.it alice.it tin.it",
    "tiscali_it": "tiscali.it tiscalinet.it",
    "aruba": "aruba.it pec.it",
    "vodafone_it": "vodafone.it",
    # Great Britain and Ireland
    "bt": "btinternet.com btopenworld.com talk21.com bt.com",
    "sky": "sky.com",
    "virgin_media": "virginmedia.com virgin.net ntlworld.com blueyonder.co.uk",
    "talktalk": "talktalk.net tiscali.co.uk lineone.net",
    "plusnet": "plus.com plus.net *.plus.com",  # addresses of customers are user@name.plus.com
    "eircom": "eircom.net",
    # Spain, Portugal, Scandinavia, Poland, Czechia, Hungary
    "telefonica_es": "telefonica.net movistar.es terra.es",
    "sapo": "sapo.pt",
    "telia": "telia.com",
    "telenor": "online.no bredband.net",
    "wp_pl": "wp.pl o2.pl tlen.pl",
    "onet": "onet.pl op.pl onet.eu poczta.onet.pl vp.pl",
    "interia": "interia.pl interia.eu poczta.fm",
    "seznam": "seznam.cz email.cz post.cz",
    "freemail_hu": "freemail.hu citromail.hu",
    # Russia and Ukraine
    "yandex": "yandex.ru yandex.com yandex.by yandex.kz yandex.ua ya.ru narod.ru",
    "mail_ru": "mail.ru bk.ru inbox.ru list.ru internet.ru",
    "rambler": "rambler.ru lenta.ru autorambler.ru myrambler.ru ro.ru",
    "ukr_net": "ukr.net",
    # North America
    "comcast": "comcast.net xfinity.com",
    "charter": """
        charter.net spectrum.net roadrunner.com brighthouse.com bresnan.net rr.com *.rr.com twc.com
    """,  # *.rr.com: Road Runner's regions, such as nyc.rr.com
    "cox": "cox.net",
    "att": """
        att.net sbcglobal.net bellsouth.net ameritech.net pacbell.net swbell.net snet.net prodigy.net flash.net
        nvbell.net
    """,
    "verizon": "vzwmail.net vtext.com",  # mobile messages; its mailboxes are at AOL
    "optimum": "optonline.net optimum.net",
    "earthlink": "earthlink.net mindspring.com",
    "centurylink": "centurylink.net embarqmail.com q.com",
    "frontier": "frontier.com frontiernet.net",
    "bell_ca": "bell.net sympatico.ca",
    "rogers": "rogers.com",
    "shaw": "shaw.ca",
    "telus": "telus.net",
    "videotron": "videotron.ca",
    # South America
    "uol": "uol.com.br bol.com.br",
    "terra": "terra.com.br",
    # Asia and Australia
    "qq": "qq.com foxmail.com",
    "netease": "163.com 126.com yeah.net",
    "sina": "sina.com sina.cn",
    "sohu": "sohu.com",
    "aliyun": "aliyun.com",
    "naver": "naver.com",
    "daum": "daum.net hanmail.net kakao.com",
    "rediff": "rediffmail.com",
    "docomo": "docomo.ne.jp",
    "au": "ezweb.ne.jp au.com uqmobile.jp",
    "softbank": """
        softbank.ne.jp i.softbank.jp disney.ne.jp ymobile.ne.jp vodafone.ne.jp *.vodafone.ne.jp y-mobile.ne.jp
    """,  # *.vodafone.ne.jp: regions such as t.vodafone.ne.jp, now SoftBank's
    "yahoo_japan": "yahoo.co.jp ybb.ne.jp yahoo.ne.jp",  # another company than Yahoo, with its own servers
    "rakuten": "rakuten.jp rakumail.jp",
    "telstra": "bigpond.com bigpond.net.au telstra.com",
    "optus": "optusnet.com.au",
    "tpg": "tpg.com.au iinet.net.au internode.on.net",
    "xtra": "xtra.co.nz",
}

_NAME: Final = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)
# RFC 1035 section 2.3.4 and RFC 5890 section 2.3.1. Underscores are not allowed in mail domains, but they occur.
_DOMAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+", re.ASCII)
_MAX_DOMAIN_LENGTH: Final = 253
_WILDCARD: Final = "*."


class Providers:
    """The user's ``own`` table, from domain (or ``*.domain``) to provider, and the built-in table behind it.

    Raises :class:`ValueError` with one line for an invalid name or domain in ``own``.
    """

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        own = own or {}
        for domain, name in own.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"provider {name[:50]!r} of {domain[:80]!r}: expected 1 to 40 of a-z, 0-9 and _")
        rows = {domain: name for name, domains in PROVIDERS.items() for domain in domains.split()}
        self._tables = (_Table(own), _Table(rows))
        self.names: Final = frozenset({*own.values(), *PROVIDERS, OTHER})
        """All possible return values of :meth:`provider_of`."""

    def provider_of(self, recipient: str) -> str:
        """Return the name of the provider of an email address. Accepts any text, never raises."""
        _, at, domain = recipient.rpartition("@")
        domain = _folded(domain) if at and len(domain) <= 2 * _MAX_DOMAIN_LENGTH else ""  # long texts are not cached
        if domain:
            for table in self._tables:
                name = table.name_of(domain)
                if name:
                    return name
        return OTHER


class _Table:
    """Names by domain and by wildcard. The domain itself takes precedence, then the nearest wildcard above it."""

    def __init__(self, rows: Mapping[str, str]) -> None:
        self._exact: dict[str, str] = {}
        self._wildcards: dict[str, str] = {}
        for domain, name in rows.items():
            folded = _folded(domain.removeprefix(_WILDCARD))
            if not folded:
                raise ValueError(f"{domain[:80]!r}: expected a domain such as example.com or *.example.com")
            (self._wildcards if domain.startswith(_WILDCARD) else self._exact)[folded] = name

    def name_of(self, domain: str) -> str | None:
        name = self._exact.get(domain)
        while name is None and domain and self._wildcards:
            _, _, domain = domain.partition(".")
            name = self._wildcards.get(domain)
        return name


@lru_cache(maxsize=4096)
def _folded(domain: str) -> str:
    """Return a domain in lower case and ASCII (``xn--…``), without a final dot; empty if it is not a domain."""
    domain = domain.strip().removesuffix(".").lower()
    if not domain.isascii():
        if len(domain) > _MAX_DOMAIN_LENGTH:  # the codec's time grows with the square of the length
            return ""
        try:
            # Python implements IDNA 2003 (RFC 3490), which differs from IDNA 2008 in four letters, such as ß.
            domain = domain.encode("idna").decode().lower()
        except UnicodeError:
            return ""
    return domain if len(domain) <= _MAX_DOMAIN_LENGTH and _DOMAIN.fullmatch(domain) else ""
