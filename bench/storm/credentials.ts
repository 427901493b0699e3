export const PASSWORD = 'correct horse battery staple';

export const usernameOf = (index: number): string => `user-${index}`;
