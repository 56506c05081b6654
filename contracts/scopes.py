"""Every scope that a token of the suite can be limited to, in the words of the page that asks for consent.

Services require these, and auth grants them to personal access tokens and OAuth clients. A test compares
both.
"""

SCOPES = {
    "read": "See everything that is yours here",
    "write": "Change everything that is yours here",
    "account:read": "See your account: e-mail address, names, role",
    "users:read": "See your profile and preferences",
    "users:write": "Change your profile and preferences; soon after you signed in, also delete your account",
    "settings:read": "See your settings",
    "settings:write": "Change your settings",
    "team:read": "See the team directory as you do",
    "team:write": "Change your entry in the team directory",
    "orders:read": "See your orders",
    "orders:write": "Place, change and delete orders for you",
    "products:read": "See the products on sale",
    "files:read": "See and download your files",
    "files:write": "Upload, change, share and delete your files",
    "audit:read": "See what is recorded about you",
    "inventory:read": "See the WorkSpaces, their costs and events",
    "inventory:write": "Start and stop syncs of the WorkSpaces",
    "notifications:read": "See your notifications, and which of them reach you",
    "notifications:write": "Mark your notifications as read, delete them, and choose which reach you",
    "support:read": "See your support tickets, and your reviews",
    "support:write": "Write support tickets and reviews for you, and vote for reviews",
    "terminal:read": "See your terminals, and what is shown in them",
    "terminal:write": "Run commands in your terminals, and change the files of your workspace",
    "workspace:read": "See and download the files of your workspace",
    "admin:clients": "As an admin: register, change and delete OAuth clients",
    "admin:users": "As an admin: manage everyone's profiles and accounts",
    "admin:settings": "As an admin: see and change the settings of the system",
    "admin:team": "As an admin: see and change everyone's entry in the team directory",
    "admin:orders": "As an admin: see and change everyone's orders",
    "admin:products": "As an admin: manage products and their stock",
    "admin:audit": "As an admin: see the whole audit log, verify it and keep it from being erased",
    "admin:inventory": "As an admin: manage AWS accounts and all syncs",
    "admin:notifications": "As an admin: send notifications to everyone",
    "admin:support": "As support staff: see and answer the tickets of everyone, and moderate reviews",
    "admin:terminal": "As an admin: see and stop everyone's boxes",
}
