"""The words of automatic replies, challenges, delays and failure notices, in the headers and the text. Mostly data.

The rows are regular expressions without upper case, for texts that :func:`folded` returns. They take linear time,
because each repetition is bounded.
"""

import re
import unicodedata
from typing import Final

LONGEST_TEXT: Final = 2_000
"""Number of characters of a text that are searched."""


def folded(text: str) -> str:
    """Return the beginning of a text, case-folded, without accents ("reponse"), with one space between words."""
    plain = _without_accents(text[:LONGEST_TEXT].replace("\u2019", "'"))
    return " ".join(plain.casefold()[:LONGEST_TEXT].split())


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _any_of(*rows: str) -> re.Pattern[str]:
    return re.compile(_without_accents("|".join(rows)))


DAEMON: Final = _any_of(
    r"mailer[-_ ]?daemon|post[-_]?master|mail delivery|mail system|mdaemon@|microsoftexchange[0-9a-f]{32}|mail router",
    r"system ?administrator|mail administrator|delivery[-_. ]?(?:status|failure)|mail[-_ ]?error|\bbounces?@",
)
"""In the header From of software that reports failures."""

_NOT_DELIVERED: Final = (
    r"(?:could ?n[o']t|cannot|can't) be delivered|(?:was not|wasn't|not been) delivered|(?:unable to|cannot) deliver",
    r"delivery (?:has )?failed|undeliverable|undelivered|nondeliver|non-deliver|user unknown",
    r"nicht zugestellt werden|unzustellbar|nicht zustellbar|zustellung[^.]{0,30}fehlgeschlagen",
    r"(?:kon|kan|kunnen) niet (?:worden )?(?:bezorgd|afgeleverd|besteld)|is niet (?:bezorgd|afgeleverd)|onbestelbaar",
    r"pas (?:pu )?etre (?:remis|delivre|livre|distribue)|n'a pas ete (?:remis|delivre|livre|distribue)|non remis",
    r"no (?:se )?(?:pudo|puede|ha podido)[^.]{0,30}entreg|no (?:ha sido |fue )?entregado|imposible entregar",
    r"impossibile (?:recapitare|consegnare)|non (?:e stato )?(?:recapitat|consegnat)|non recapitabil",
    r"nao (?:foi |pode ser )?(?:entregue|possivel entregar)|nao e possivel entregar",
    r"недоставлен|не доставлен|не удалось доставить|niedostarcz|nie dostarczon|nedorucit|olevererbar|uleverbar",
    r"配信不能|配信エラー|配達不能|送信エラー|退信|未送达|无法送达|無法傳遞|投递失败",
)

FAILED_TEXT: Final = _any_of(*_NOT_DELIVERED)
"""In the text of failure notices, and hardly in any other."""

FAILED_SUBJECT: Final = _any_of(
    *_NOT_DELIVERED,
    r"undeliver|not delivered|returned mail|return(?:ed)? to sender|failure notice|bounced mail",
    r"(?:rejected|blocked) mail",
    r"delivery (?:status|failure|report|problem|error|notification|unsuccessful|delayed|is delayed)|mail status",
    r"(?:mail|message) (?:delivery )?(?:failed|failure|error|rejected|refused|bounced|delayed)|mail system error",
    r"delayed mail|could not send|permanent (?:error|fail)|address (?:not found|rejected|unknown)|not accepted",
    r"nicht zugestellt|zustell(?:ungs?)?(?:fehler|bericht)|fehler bei der (?:nachrichten)?zustellung",
    r"zustellung verzogert",
    r"niet (?:bezorgd|besteld|afgeleverd)|(?:bezorging|bezorgen|aflevering|afleveren) mislukt|bezorg(?:fout|status)",
    r"e-?mailadres (?:bestaat niet|onbekend|onjuist)",
    r"non (?:distribu|delivr|livr)|echec de (?:la )?(?:remise|livraison|distribution|l'envoi)|etat de remise",
    r"error (?:de|en la) entrega|(?:fallo|falla) (?:de|en) (?:la )?entrega|(?:correo|mensaje) devuelto",
    r"mancat[ao] (?:consegna|recapito)|falha na entrega|erro de entrega|(?:mensagem|e-?mail) devolvid",
)
"""In the subject of failure notices."""

DELAYED: Final = _any_of(
    r"delayed|still being retried|(?:not|n't) (?:yet )?been delivered yet|not yet been delivered",
    r"could not send message for",
    r"warning message only|warning only|(?:do not|don't) need to re-?send|will keep trying|\(delay\)",
    r"delivery incomplete",
    r"delivery (?:attempts )?will continue|temporary failure report",
    r"verzogert|verzogerung|vertraagd|vertraging|retarde|differe|retrasad|demorad|in ritardo|ritardat|atrasad|задерж",
)
"""In the subject and text of a failure notice, if the message is still being retried."""

FINAL_SUBJECT: Final = _any_of(r"fail|undeliver|return|reject|unzustell|onbestel|non remis|devuelt|mancat")
"""In the subject of failure notices that are final, whatever the text says about delays."""

AUTO_SUBJECT: Final = re.compile(
    r"[\[(]{0,3}(?:"
    + _any_of(
        r"auto(?:matic(?:ally generated)?|mated)?[-_ ]?(?:repl|respon|answer|acknowledg)|auto: ",
        r"out[- ]of[- ](?:the[- ])?office",
        r"ooo\b|away from|on (?:vacation|holiday|annual leave|leave|maternity|parental)|vacation|annual leave",
        r"absen(?:ce|t)\b",
        r"(?:i am|i'm) (?:away|out|on)|not in the office|currently (?:out|away)",
        r"thank you for (?:contacting|your e?-?m)",
        r"(?:we )?(?:have )?received your (?:e-?mail|message|request)|your (?:request|ticket)[^.]{0,30}received",
        # Dutch, German
        r"automatisch(?:e|es)? (?:antwoord|beantwoord|reactie|antwort|ruckmeldung)|afwezig|niet aanwezig",
        r"niet op kantoor",
        r"buiten kantoor|(?:met|op) (?:vakantie|verlof)|vakantie|ontvangstbevestiging",
        r"wij hebben uw (?:bericht|e-?mail)",
        r"abwesen|nicht (?:im (?:buro|haus|hause)|am arbeitsplatz)|ausser haus|(?:im )?urlaub|eingangsbestatigung",
        r"(?:ik ben|ich bin|je suis) [^.]{0,20}(?:niet|afwezig|nicht|absent)",
        # French, Spanish, Italian, Portuguese
        r"reponse automatique|absente?\b|hors (?:du )?bureau|en (?:conge|vacances)|conges|accuse de reception",
        r"respuesta automatica|auto ?respuesta|fuera de (?:la )?oficina|ausen(?:te|cia)|(?:de )?vacaciones",
        r"acuse de recibo",
        r"risposta automatica|fuori (?:ufficio|sede)|assen(?:te|za)|(?:in )?ferie|resposta automatica",
        r"fora do escritorio|(?:de |em )?ferias",
        # Others
        r"автоответ|автоматический ответ|odpowiedz automatyczna|autosvar|automatisk(?:t)? svar|automaattinen vastaus",
        r"franvaro|automaticka odpoved|otomatik yanit|automatikus valasz|自動応答|自動返信|自动回复|自動回覆|不在",
    ).pattern
    + ")"
)
"""At the beginning of the subject of automatic replies."""

AUTO_TEXT: Final = _any_of(
    r"out of (?:the )?office|automat(?:ic|ed|ically generated) (?:e-?mail )?(?:reply|response|acknowledg)",
    r"auto-?repl(?:y|ies)",
    r"(?:am|be|is) (?:currently )?(?:away|on (?:vacation|holiday|leave|annual leave|maternity|parental))|auto-?respond",
    r"(?:limited|no|without) access to (?:my )?e-?mail|(?:until|when) i return",
    r"no longer (?:work|employed|with the company)",
    r"(?:have|has been|successfully) received your (?:e-?mail|message|request)",
    r"(?:ticket|case) (?:number|has been (?:cre|op))",
    # Dutch, German
    r"automatisch(?:e)? (?:antwoord|reactie|beantwoord)|(?:niet (?:aanwezig )?op kantoor|afwezig)",
    r"niet (?:meer )?werkzaam",
    r"(?:met|op) (?:vakantie|verlof|zwangerschapsverlof)|werk ik niet meer",
    r"uw (?:bericht|e-?mail|vraag)[^.]{0,20}ontvangen",
    r"nicht (?:im|in) (?:buro|haus|hause|unserem)|abwesen|ausser haus|(?:im|in) (?:urlaub|elternzeit|mutterschutz)",
    r"automatische (?:antwort|ruckmeldung|eingangs)",
    r"ihre (?:e-?mail|nachricht|anfrage)[^.]{0,20}(?:eingegangen|erhalten)",
    r"automatisch ge(?:genereerd|nerierte)|(?:ben|ik)[^.]{0,40} niet bereikbaar|nicht erreichbar",
    # French, Spanish, Italian, Portuguese
    r"absente? (?:du|jusqu|pour|actuellement|et)|hors du bureau|en (?:conge|vacances|arret)|reponse automatique",
    r"de retour (?:le|au)|bien recu votre|accusons reception|ne travaille plus",
    r"fuera de (?:la |mi )?oficina|(?:de|por) vacaciones|respuesta automatica|ausente|hemos recibido su|ya no trabaj",
    r"fuori (?:dall'|dal )?(?:ufficio|sede)|in ferie|risposta automatica|assente (?:dal|fino)|abbiamo ricevuto",
    r"fora do escritorio|(?:de|em) ferias|resposta automatica|recebemos (?:a sua|sua|o seu)|nao trabalha mais",
)
"""In the text of automatic replies. People write some of these too, so this comes last."""

CHALLENGERS: Final = _any_of(
    r"spam ?arrest|\btmda\b|mail ?in ?black|boxbe|sendio\b|tira-?teima|antispam ?uol|spamblocker-challenge|choicemail",
    r"knowspam|mailblocks|spamlion|active spam killer|-confirm-accept|-confirm\+",
)
"""In the headers From, Reply-To, Subject and those that name the software, of systems that ask for a confirmation."""
CHALLENGE_HEADERS: Final = ("x-tmda-", "x-spamarrest", "x-boxbe", "x-sendio", "x-challenge")
"""Beginnings of the names of headers that only these systems write."""

_CONFIRM: Final = r"(?:confirm|verif|authenticat|validat|authoriz|identif|respond|reply|click)"
CHALLENGE_TEXT: Final = _any_of(
    r"(?:verify|confirm|prove|show|ensure|sure)\b[^.]{0,40}\b(?:you are|you're|sender is) [^.]{0,20}"
    r"(?:human|real|person|robot|spammer|machine|bot\b)",
    r"(?:please|must|need to|have to|asked to|simply|requires? you to) (?:confirm|verify|authenticate|validate) "
    r"(?:your(?:self| message| e-?mail| address| identity| request)|that you|this message)",
    r"senders? (?:to )?(?:verify|confirm|authenticate|identify) (?:themselves|that)|verify themselves",
    r"(?:sender|e-?mail|address) verification (?:request|require)|confirmation (?:required|needed) to deliver",
    r"to (?:release|deliver|complete (?:the )?delivery)[^.]{0,60}(?:click|reply|link|confirm|send an empty)",
    rf"(?:being held|is held|was held|quarantine|on hold|waiting|waitlisted)[^.]{{0,80}}until[^.]{{0,60}}{_CONFIRM}",
    r"(?:add|list)[^.]{0,60}(?:guest list|(?:allowed|approved|accepted|trusted) senders)",
    r"(?:receive|accept)[^.]{0,20} only from[^.]{0,40}(?:approved|authorized|confirmed)|just this once, click",
    # French, German, Dutch
    r"n'etes pas un (?:robot|spammeur)|veuillez (?:vous )?(?:authentifier|identifier)|je m'authentifie",
    r"vous authentifier",
    r"(?:merci de|veuillez) (?:verifier|confirmer|valider) (?:votre|que vous|l'envoi)",
    r"kein(?:e)? (?:roboter|spammer|spam-?versender|maschine)|bestatigen sie (?:bitte )?(?:dass|ihre|den versand)",
    r"geen (?:robot|spammer)|\bbevestig (?:dat u|uw|hier|de verzending)|te bevestigen dat u (?:een mens|geen)",
    r"klicken sie[^.]{0,60}(?:zuzustellen|freizu)|klik[^.]{0,60}(?:afgeleverd|bezorgd|vrijgegeven)",
    r"cliqu[^.]{0,60}(?:delivr|remis|distribu)",
    # Spanish, Italian, Portuguese
    r"(?:confirme|verifique) (?:su (?:direccion|correo|mensaje|identidad|envio)|que (?:no )?es|el envio)",
    r"no es un robot",
    r"conferm(?:a|are|i) (?:che |il tuo |il suo |la tua |l'invio|di (?:non )?essere|l'indirizzo)|non sei un robot",
    r"confirm(?:e|ar) (?:o envio|que |o seu|seu e-?mail|sua mensagem)|nao e um robo|autorizar? o (?:recebimento|envio)",
)
"""In the subject or text of a request to confirm a message."""

QUOTING: Final = re.compile(
    r"^>|\b(?:wrote|schreef|schrieb|a écrit|escribió|ha scritto|escreveu)\b[^\n]{0,80}:[ \t]{0,9}$"
    r"|^-{2,20}[ \t]?(?:original message|oorspronkelijk bericht|ursprüngliche nachricht|message d'origine)"
    r"|^(?:von|van|from|de|da):[ \t]",
    re.IGNORECASE | re.MULTILINE,
)
"""Above a message that a person quotes, in text that is not folded."""
