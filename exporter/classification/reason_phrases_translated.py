"""The phrases of ``reason_phrases`` in other languages than English. Data only, in the same syntax.

Chinese and Japanese have no spaces between words, so their phrases are found anywhere in a text. Chinese is in both
scripts; Russian with and without the dots of "ё".
"""

from collections.abc import Mapping
from typing import Final

TRANSLATED: Final[Mapping[str, tuple[str, ...]]] = {
    "sender_rejected": (
        "absenderadresse | absender … abgelehnt",
        "adresse dexpediteur | adresse dexpéditeur | expediteur inconnu | expéditeur inconnu | emetteur invalide",
        "afzender … geweigerd",
        "mittente … rifiutato",
        "отправитель … отклонен* | адрес отправителя",
        "发件人地址 | 发信人地址 | 寄件人地址 | 寄件者地址",
    ),
    "authentication": ("逆引き",),
    "blocked": (
        "schwarze liste | sperrliste | liste noire | zwarte lijst | lista nera | lista negra | czarna lista",
        "черный список | чёрный список | черном списке | чёрном списке",
        "ブラックリスト",
        "黑名单 | 黑名單",
    ),
    "rate_limited": (
        "trop de connexion* | trop de message*",
        "zu viele",
        "te veel verbinding* | te veel bericht*",
        "troppe connession* | troppi messaggi",
        "demasiadas conexiones | demasiados mensajes",
        "слишком много | слишком часто | превышен лимит писем | превышен лимит сообщений | превышено количество",
        "превышена скорость",
        "频率 | 頻率 | 频繁 | 頻繁 | 数量超 | 數量超 | 连接数 | 連線數 | 请求过多",
    ),
    "mailbox_full": (
        "pleine | quota … dépass* | quota … depass* | espace … insuffisant",
        "überfüllt | quota … überschritten | postfach … voll | mailbox … voll | speicherplatz",
        "quota … overschreden | mailbox vol | is vol | postvak … vol",
        "piena | quota … superata | spazio … esaurito",
        "buzón … lleno | buzon … lleno | casilla … llena | cuota … excedida | caixa … cheia",
        "skrzynka … pełna | skrzynka … przepełniona",
        "переполнен | переполнена | ящик … полон | ящик … заполнен | превышена квота | квота … превышена",
        "недостаточно места | нет места",
        "容量 | いっぱい | 一杯",
        "已满 | 已滿 | 空间不足 | 空間不足 | 配额 | 配額",
    ),
    "message_too_large": (
        "taille maximale | tamaño máximo | dimensione massima | trop volumineux | trop gros | zu gross | te groot",
        "troppo grande",
        "слишком большое | слишком большой | размер … превышает",
        "过大 | 過大 | 太大 | 大小超",
    ),
    "recipient_unknown": (
        "pas été trouvé* | introuvable | no se ha encontrado | non trovato | niet gevonden | nieznany | não encontrado",
        "찾을 수 없습니다",
        "utilisateur inconnu | destinataire inconnu | adresse inconnue | adresse invalide | nexiste pas",
        "empfänger … unbekannt | benutzer … unbekannt | unbekannter | existiert nicht | nicht gefunden",
        "gebruiker … onbekend | ontvanger … onbekend | onbekende gebruiker | onbekende ontvanger | bestaat niet",
        "niet meer bekend | ons niet bekend",
        "utente … sconosciuto | utente … inesistente | destinatario … sconosciuto | casella … inesistente",
        "non esiste",
        "cuenta … no existe | dirección … no existe | destinatario desconocido | usuario desconocido",
        "destinatario … no existe | usuario … no existe",
        "não existe | nao existe",
        "nie istnieje | nie ma takiego",
        "пользователь не | пользователя не | такого пользователя | нет такого | неизвестный пользователь",
        "получатель не найден | неизвестный получатель | адрес не найден | адрес не существует",
        "ящик не найден | ящик не существует",
        "存在しま | 存在しない | 見つかりません | 宛先不明 | リストにありません",
        "用户不存在 | 用戶不存在 | 使用者不存在 | 收件人不存在 | 收件者不存在 | 邮箱不存在 | 郵箱不存在 | 信箱不存在",
        "地址不存在 | 帐号不存在 | 账号不存在 | 帳號不存在 | 无此 | 無此 | 查无 | 查無 | 没有此用户",
        "没有该用户 | 未知用户",
    ),
    "mailbox_unavailable": (
        "compte … bloqu* | compte … désactiv* | compte … desactiv* | compte … suspendu",
        "postfach … gesperrt | konto … gesperrt | konto … deaktiviert",
        "account … geblokkeerd | account … opgeheven",
        "casella … disabilitata | casella … sospesa",
        "ящик … заблокирован | ящик … отключен | ящик … отключён | ящик … недоступен",
        "учетная запись … заблокирована | учётная запись … заблокирована",
        "利用停止 | 休止",
        "冻结 | 凍結 | 停用 | 禁用",
    ),
    "domain_invalid": (
        "domaine inconnu | domaine … inexistant | domain unbekannt | domein onbekend | dominio inesistente",
        "домен не найден | домен не существует",
        "域名不存在 | 網域不存在",
    ),
    "content": (
        "спам | спама | спамом",
        "迷惑メール",
        "垃圾邮件 | 垃圾郵件 | 垃圾信",
    ),
    "remote_system": ("系统繁忙 | 系統忙碌 | 系统错误 | 暂时出现故障",),
}
